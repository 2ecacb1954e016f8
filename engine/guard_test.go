package engine

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/lockfile"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// journals returns the journals in a store.
func journals(t *testing.T, store storage.Store) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(store.GraphRoot(), "imaged", "engine-*", "record.json"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestJournalIsKeptWhileContentComes(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	if found := journals(t, store); len(found) != 0 {
		t.Fatalf("before the first change: %v", found)
	}
	id := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}})
	found := journals(t, store)
	if len(found) != 1 {
		t.Fatalf("after a change: %v", found)
	}
	img, err := store.Image(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Remove(t.Context(), []string{"a"}, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	// What is made and removed is nothing to look at any more; it is written with the next change.
	enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"other"}})
	data, err := os.ReadFile(found[0])
	if err != nil || bytes.Contains(data, []byte(img.TopLayer)) {
		t.Errorf("the journal is %s, %v", data, err)
	}
}

func TestNoImageOfADamagedLayer(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	img, err := store.Image(enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"a", "b"}}))
	if err != nil {
		t.Fatal(err)
	}
	base, err := store.Layer(img.TopLayer)
	if err != nil {
		t.Fatal(err)
	}
	reason := errors.New("it is empty")
	e.guard.damaged = map[string]error{base.Parent: reason}
	if _, err := store.CreateImage("", nil, img.TopLayer, "", nil); !errors.Is(err, reason) || errdefs.Name(err) != "Failed" {
		t.Errorf("CreateImage = %v", err)
	}
}

func TestLostLock(t *testing.T) {
	t.Parallel()
	_, store := open(t)
	id := enginetest.AddImage(t, store, enginetest.Image{})
	g := &guardedStore{Store: store.(*guardedStore).Store, log: discard(), lost: make(chan struct{})}
	e := &Engine{guard: g}
	if _, err := g.Image(id); err != nil {
		t.Fatal(err)
	}
	if err := g.use(func() error { panic(os.ErrPermission) }); !errors.Is(err, errLost) || !errors.Is(err, os.ErrPermission) {
		t.Errorf("a panic gives %v", err)
	}
	select {
	case <-e.Lost():
	default:
		t.Fatal("the engine is not lost")
	}
	if _, err := g.Image(id); !errors.Is(err, errLost) {
		t.Errorf("afterwards: %v", err)
	}
	if g.Exists(id) {
		t.Error("what cannot be looked for is there")
	}
}

// TestUseKeepsTheLock looks whether the library's lock can be used while this process has it: it would lose it by closing
// any descriptor of the file that can be read.
func TestUseKeepsTheLock(t *testing.T) {
	t.Parallel()
	_, store := open(t)
	path := filepath.Join(store.GraphRoot(), "storage.lock")
	lock, err := lockfile.GetLockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lock.Lock()
	defer lock.Unlock()
	if err := store.(*guardedStore).usable(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	held := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &held); err != nil || held.Type == unix.F_UNLCK {
		t.Errorf("the lock is gone (%v)", err)
	}
}

func TestRoomIsKept(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	full := func(what string, err error) {
		t.Helper()
		e, ok := errors.AsType[*errdefs.StorageFull](err)
		if !ok || e.Path != store.GraphRoot() || !strings.Contains(e.Reason, LimitFreeBytes) {
			t.Errorf("%s: %v", what, err)
		}
	}
	room := &roomKeeper{keep: 1}
	r := room.reader(strings.NewReader(strings.Repeat("x", 3*roomStep)), store.GraphRoot())
	if _, err := io.CopyN(io.Discard, r, roomStep); err != nil {
		t.Fatal(err)
	}
	room.keep = 1 << 62 // as if somebody had filled the disk
	_, err := io.Copy(io.Discard, r)
	full("read on", err)
	e.guard.room.keep = 1 << 62
	_, _, err = store.PutLayer("", "", nil, "", false, nil, strings.NewReader(""))
	full("PutLayer", err)
	_, err = store.CreateImage("", nil, "", "", nil)
	full("CreateImage", err)
	if found := journals(t, store); len(found) > 0 {
		t.Errorf("a journal of nothing: %v", found)
	}
}

func TestWhatIsNotFinishedIsLeftToTheNextEngine(t *testing.T) {
	t.Parallel()
	d := enginetest.NewDirs(t)
	log, hook := logrustest.NewNullLogger()
	for _, finished := range []bool{true, false} {
		e, err := Open(t.Context(), Options{Root: d.Root, RunRoot: d.RunRoot, Driver: enginetest.Driver, TmpDir: d.Tmp, ConfigDir: d.Config})
		if err != nil {
			t.Fatal(err)
		}
		layer, err := e.store.CreateLayer("", "", nil, "", false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := e.store.PutLayer(layer.ID, "", nil, "", false, nil, strings.NewReader("not a tar")); err == nil {
			t.Error("one layer was made twice")
		}
		if _, _, err := e.store.PutLayer("", "unknown", nil, "", false, nil, strings.NewReader("")); err == nil {
			t.Error("a layer was made upon nothing")
		}
		if finished {
			if err := e.store.DeleteLayer(layer.ID); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if left := len(journals(t, e.store)) > 0; left == finished {
			t.Errorf("finished: %v; a journal is left: %v", finished, left)
		}
	}
	enginetest.AwaitUnlocked(t, filepath.Join(d.Root, "imaged", "engine-*"))
	e := openDirs(t, d, log)
	if layers, err := e.store.Layers(); err != nil || len(layers) > 0 {
		t.Errorf("layers left: %v, %v", layers, err)
	}
	if len(hook.AllEntries()) == 0 {
		t.Error("nobody was told")
	}
}
