package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/containers/image/v5/signature"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/mount"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"

	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/hostconf"
	"github.com/imaged-project/imaged/engine/recovery"
)

// open opens an engine on folders of the test's own, and the store below it.
func open(t testing.TB) (*Engine, storage.Store) {
	t.Helper()
	e := openDirs(t, enginetest.NewDirs(t), nil)
	return e, e.store
}

func openDirs(t testing.TB, d enginetest.Dirs, log logrus.FieldLogger) *Engine {
	t.Helper()
	e, err := Open(t.Context(), Options{
		Root: d.Root, RunRoot: d.RunRoot, Driver: enginetest.Driver, TmpDir: d.Tmp, ConfigDir: d.Config, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	d := enginetest.NewDirs(t)
	e, err := Open(t.Context(), Options{Root: d.Root, RunRoot: d.RunRoot, Driver: enginetest.Driver, TmpDir: d.Tmp, ConfigDir: d.Config})
	if err != nil {
		t.Fatal(err)
	}
	enginetest.AddImage(t, e.store, enginetest.Image{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(d.Root); err != nil {
		t.Errorf("the store's folder cannot be removed: %v", err)
	}
	mounts, err := mount.GetMounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if filepath.Dir(m.Mountpoint) == d.Root {
			t.Errorf("%s is still mounted", m.Mountpoint)
		}
	}
	if left, err := os.ReadDir(d.Tmp); err != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
}

func TestOpenSweepsStaleTempDirs(t *testing.T) {
	t.Parallel()
	d := enginetest.NewDirs(t)
	stale := filepath.Join(d.Tmp, tempPrefix+"stale")
	if err := os.MkdirAll(filepath.Join(stale, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	// What a killed daemon had not finished beside its callers' paths is noted there; anything else is nobody's business.
	elsewhere := t.TempDir()
	unfinished, precious := filepath.Join(elsewhere, targetPrefix+"1"), filepath.Join(elsewhere, "precious")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(unfinished, "x"), 0o700), os.Mkdir(precious, 0o700),
		os.Symlink(unfinished, filepath.Join(stale, targetPrefix+"1")), os.Symlink(precious, filepath.Join(stale, targetPrefix+"2")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	used, err := newTempDir(d.Tmp, discard())
	if err != nil {
		t.Fatal(err)
	}
	openDirs(t, d, nil)
	if names := entries(t, elsewhere); len(names) != 1 || names[0] != "precious" {
		t.Errorf("elsewhere is %v", names)
	}
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stale folder: %v, want it gone", err)
	}
	if _, err := os.Stat(used.path); err != nil {
		t.Errorf("folder in use: %v", err)
	}
	if err := used.close(); err != nil {
		t.Error(err)
	}
}

func TestFreshHostGetsBuiltinDefaults(t *testing.T) {
	t.Parallel()
	log, hook := logrustest.NewNullLogger()
	e := openDirs(t, enginetest.NewDirs(t), log)
	for _, part := range []string{hostconf.PartPolicy, hostconf.PartRegistries} {
		said := 0
		for _, entry := range hook.AllEntries() {
			if entry.Data["part"] == part {
				said++
			}
		}
		if said != 1 {
			t.Errorf("part %s was announced %d times, want once", part, said)
		}
	}
	if err := e.Reload(); err != nil {
		t.Fatal(err)
	}
	if n := len(hook.AllEntries()); n > 4 {
		t.Errorf("a reload that changed nothing was announced: %d lines", n)
	}
	info, err := e.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(info.Sources, hostconf.Source{Name: hostconf.PartPolicy}) || !slices.Equal(info.Registries, []string{"docker.io"}) {
		t.Errorf("info = %+v", info)
	}
	pc, err := e.policyContext()
	if err != nil {
		t.Fatal(err)
	}
	if err := pc.Destroy(); err != nil {
		t.Error(err)
	}
	r, err := e.Resolve(t.Context(), "thing")
	if err != nil || !slices.Equal(r.References, []string{"docker.io/library/thing:latest"}) {
		t.Errorf("Resolve = %v, %v", r, err)
	}
}

func TestHostPolicyIsNeverWeakened(t *testing.T) {
	t.Parallel()
	d := enginetest.NewDirs(t)
	path := filepath.Join(d.Config, "policy.json")
	if err := os.WriteFile(path, []byte(`{"default":[{"type":"reject"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	e := openDirs(t, d, nil)
	policy, err := signature.DefaultPolicy(e.systemContext())
	if err != nil || policy.Default[0] == signature.NewPRInsecureAcceptAnything() {
		t.Fatalf("policy = %v, %v", policy, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := e.policyContext(); err == nil {
		t.Error("a policy that was removed lets images in")
	}
	if err := e.Reload(); !errors.Is(err, hostconf.ErrPolicyGone) {
		t.Errorf("Reload = %v, want ErrPolicyGone", err)
	}
	if _, err := e.policyContext(); err == nil {
		t.Error("after a reload a policy that was removed lets images in")
	}
}

func TestPartialImagesStayOff(t *testing.T) {
	t.Parallel()
	e, _ := open(t)
	if got := e.store.PullOptions()["enable_partial_images"]; got != "false" {
		t.Errorf("enable_partial_images = %q", got)
	}
}

func TestLocks(t *testing.T) {
	t.Parallel()
	l := newKeyedLocks()
	read1, err := l.rlock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	read2, err := l.rlock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.lock(ctx, "a"); errdefs.Name(err) != "Cancelled" {
		t.Errorf("lock with an ended context = %v", err)
	}
	other, err := l.lock(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		unlock, err := l.lock(t.Context(), "a")
		if err != nil {
			t.Error(err)
			return
		}
		unlock()
	})
	for _, unlock := range []func(){read1, read1, read2, other} { // unlocking twice does no harm
		unlock()
	}
	wg.Wait()
	if len(l.held) != 0 {
		t.Errorf("%d locks are left", len(l.held))
	}
}

func TestSyncIsShared(t *testing.T) {
	t.Parallel()
	s, err := newFSSyncer(new(recovery.Journal), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.sync(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.turn.Lock() // as while another round is running
	ended, end := context.WithCancelCause(t.Context())
	end(errors.ErrUnsupported)
	if err := s.sync(ended); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("sync waited longer than its context lived: %v", err)
	}
	s.turn.Unlock()
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if err := s.sync(t.Context()); err == nil {
		t.Error("sync of a closed folder succeeded")
	}
}
