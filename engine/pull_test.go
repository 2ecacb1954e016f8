package engine_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage"
	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/names"
	"github.com/imaged-project/imaged/engine/progress"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// puller is an engine to pull into.
type puller struct {
	*engine.Engine
	dirs enginetest.Dirs
}

// openPuller opens an engine that is closed, and must have left nothing temporary, when the test ends.
func openPuller(t testing.TB, change ...func(*engine.Options)) puller {
	t.Helper()
	d := enginetest.NewDirs(t)
	o := engine.Options{Root: d.Root, RunRoot: d.RunRoot, Driver: enginetest.Driver, TmpDir: d.Tmp, ConfigDir: d.Config}
	for _, f := range change {
		f(&o)
	}
	e, err := engine.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		wantEmpty(t, d.Tmp)
	})
	return puller{e, d}
}

func wantEmpty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("%s is not empty: %v, %v", dir, entries, err)
	}
}

// quick are options for a registry on plain HTTP that fails without delay.
func quick() engine.PullOptions {
	return engine.PullOptions{TLSVerify: new(false), RetryDelay: new(time.Millisecond)}
}

// pull pulls and returns how it ended.
func (p puller) pull(t testing.TB, reference string, o engine.PullOptions) (engine.PullResult, error) {
	t.Helper()
	w, err := p.Pull(t.Context(), reference, o)
	if err != nil {
		return engine.PullResult{}, err
	}
	defer w.Close()
	value, err := w.Result(t.Context())
	if err != nil {
		return engine.PullResult{}, err
	}
	return value.(engine.PullResult), nil
}

func (p puller) mustPull(t testing.TB, reference string, o engine.PullOptions) engine.PullResult {
	t.Helper()
	r, err := p.pull(t, reference, o)
	if err != nil {
		t.Fatalf("pull %s: %v", reference, err)
	}
	return r
}

// idle waits until no work runs any more: that of a cancelled job goes on for a while.
func (p puller) idle(t testing.TB) {
	t.Helper()
	for p.Jobs().Busy() {
		select {
		case <-t.Context().Done():
			t.Fatal("still busy")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// wantNothing fails if the store has an image or a layer, or if a temporary file is left.
func (p puller) wantNothing(t testing.TB) {
	t.Helper()
	p.idle(t)
	store := p.Store()
	images, err := store.Images()
	if err != nil || len(images) > 0 {
		t.Errorf("images left: %v, %v", images, err)
	}
	layers, err := store.Layers()
	if err != nil || len(layers) > 0 {
		t.Errorf("%d layers left, %v", len(layers), err)
	}
	temps, err := filepath.Glob(filepath.Join(p.dirs.Tmp, "*", "*"))
	if err != nil || len(temps) > 0 {
		t.Errorf("temporary files left: %v, %v", temps, err)
	}
	staged, err := filepath.Glob(filepath.Join(p.dirs.Root, "overlay", "staging", "*"))
	if err != nil || len(staged) > 0 {
		t.Errorf("unpacked layers left: %v, %v", staged, err)
	}
}

func (p puller) image(t testing.TB, id string) *storage.Image {
	t.Helper()
	image, err := p.Store().Image(id)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestPull(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	for _, docker := range []bool{false, true} {
		digest := reg.PushImage(t, "app:v1", registrytest.ImageOptions{Docker: docker})
		p := openPuller(t)
		r := p.mustPull(t, reg.Ref("app:v1"), quick())
		image := p.image(t, r.IDs[0])
		want := []string{reg.Ref("app:v1")}
		if diff := cmp.Diff(want, r.Names); diff != "" {
			t.Errorf("names of the result (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, image.Names); diff != "" {
			t.Errorf("names in the store (-want +got):\n%s", diff)
		}
		if image.Digest.String() != digest {
			t.Errorf("digest is %s, want %s", image.Digest, digest)
		}
		byDigest := p.mustPull(t, "docker://"+reg.Ref("app:v1@"+digest), quick())
		if want := reg.Ref("app@" + digest); byDigest.Names[0] != want || byDigest.IDs[0] != r.IDs[0] {
			t.Errorf("pull by digest gave %+v, want %s of %s", byDigest, want, r.IDs[0])
		}
	}
}

func TestPullProgressAddsUp(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{Rate: 4 << 20})
	reg.PushImage(t, "base:1", registrytest.ImageOptions{Layers: 1, LayerSize: 300 << 10, Seed: 7})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 4, LayerSize: 300 << 10, Seed: 7})
	p := openPuller(t)
	p.mustPull(t, reg.Ref("base:1"), quick())
	w, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	reg.ForgetRequests()
	var last progress.Snapshot
	blobs := map[string]progress.Blob{}
	phases := map[progress.Phase]bool{}
	var lines []string
	for u, err := range w.Updates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range u.Lines {
			lines = append(lines, l.Text)
		}
		if u.Progress == nil {
			continue
		}
		if u.Progress.Done < last.Done {
			t.Errorf("done went back from %d to %d", last.Done, u.Progress.Done)
		}
		if u.Progress.Total != nil && u.Progress.Done > *u.Progress.Total {
			t.Errorf("done %d of %d", u.Progress.Done, *u.Progress.Total)
		}
		last = *u.Progress
		phases[last.Phase] = true
		for _, b := range last.Blobs {
			blobs[b.Digest] = b
		}
	}
	if _, err := w.Result(t.Context()); err != nil {
		t.Fatal(err)
	}
	var done, cached int64
	for _, b := range blobs {
		switch b.State {
		case progress.BlobDone:
			done += *b.Size
			if b.Offset != *b.Size {
				t.Errorf("blob %+v is done at %d of %d", b, b.Offset, *b.Size)
			}
		case progress.BlobSkipped:
			cached += *b.Size
		default:
			t.Errorf("blob %s ended as %s", b.Digest, b.State)
		}
	}
	if last.Total == nil || last.Done != *last.Total || last.Done != done || last.Cached != cached || cached == 0 {
		t.Errorf("last progress %+v; blobs: %d done, %d cached", last, done, cached)
	}
	if last.LayersTotal == nil || *last.LayersTotal != 4 || last.LayersDone != 4 {
		t.Errorf("layers: %d of %v", last.LayersDone, last.LayersTotal)
	}
	if last.Phase != progress.Committing || !phases[progress.Transferring] {
		t.Errorf("phases seen: %v, last %s", phases, last.Phase)
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, reg.Ref("app:1")) }) {
		t.Errorf("lines do not say what is pulled: %q", lines)
	}
}

// A blob is said to be copied while it is, and once.
func TestPullSaysWhatItCopies(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 3, LayerSize: 100 << 10})
	stall := make(chan struct{})
	reg.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Skip: 1, Fault: registrytest.Fault{Stall: stall, After: 1 << 10}})
	w, err := openPuller(t).Pull(t.Context(), reg.Ref("app:1"), quick())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	times := map[string]int{}
	for u, err := range w.Updates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range u.Lines {
			if !strings.HasPrefix(l.Text, "Copying blob ") {
				continue
			}
			if len(times) == 0 {
				close(stall) // which nothing could pass before
			}
			times[l.Text]++
		}
	}
	if _, err := w.Result(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(times) != 3 || slices.ContainsFunc(slices.Collect(maps.Values(times)), func(n int) bool { return n != 1 }) {
		t.Errorf("lines and how often they came: %v", times)
	}
}

func TestEqualPullsAreOneDownload(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{Rate: 2 << 20})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 2, LayerSize: 256 << 10})
	p := openPuller(t)
	first, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if first.Job() != second.Job() {
		t.Error("equal pulls are two jobs")
	}
	first.Close()
	if _, err := second.Result(t.Context()); err != nil {
		t.Errorf("second, after the first has left: %v", err)
	}
	for path, n := range reg.Downloads() {
		if n > 1 {
			t.Errorf("%s was fetched %d times", path, n)
		}
	}
}

func TestUnequalPullsOfOneImageBothSucceed(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Seed: 3})
	reg.PushImage(t, "app:2", registrytest.ImageOptions{Seed: 3})
	p := openPuller(t)
	var watches []*jobs.Watch
	for _, tag := range []string{"app:1", "app:2"} {
		for uid := range uint32(3) {
			o := quick()
			o.UID = uid
			w, err := p.Pull(t.Context(), reg.Ref(tag), o)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			watches = append(watches, w)
		}
	}
	ids := map[string]bool{}
	for _, w := range watches {
		value, err := w.Result(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ids[value.(engine.PullResult).IDs[0]] = true
	}
	if len(ids) != 1 {
		t.Errorf("ids: %v", ids)
	}
}

func TestLeavingCancelsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	for name, fault := range map[string]registrytest.Fault{
		"while resolving":   {Stall: stall},
		"while downloading": {Stall: stall, After: 1 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := registrytest.New(t, registrytest.Options{})
			reg.PushImage(t, "app:1", registrytest.ImageOptions{LayerSize: 64 << 10})
			path := "/manifests/"
			if fault.After > 0 {
				path = "/blobs/"
			}
			p := openPuller(t)
			rule := registrytest.Rule{Method: "GET", Path: path, Fault: fault}
			if fault.After > 0 {
				rule.Skip = 1 // the configuration
			}
			reg.Misbehave(rule)
			w, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
			if err != nil {
				t.Fatal(err)
			}
			for reg.Count("GET", path) <= rule.Skip {
				time.Sleep(time.Millisecond)
			}
			began := time.Now()
			w.Close()
			if _, err := w.Result(t.Context()); errdefs.Name(err) != "Cancelled" {
				t.Errorf("result: %v", err)
			}
			p.wantNothing(t)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %s until the work had stopped", took)
			}
		})
	}
}

func TestCancelWhileUnpackingLeavesNothing(t *testing.T) {
	t.Parallel()
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 3, LayerSize: 64 << 10})
	reg.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Skip: 3, Fault: registrytest.Fault{Stall: stall, After: 1 << 10}})
	p := openPuller(t)
	w, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
	if err != nil {
		t.Fatal(err)
	}
	store := p.Store()
	for { // until a layer is there, if one can be: the stalled one may be the lowest
		layers, err := store.Layers()
		if err != nil {
			t.Fatal(err)
		}
		if len(layers) > 0 || reg.Count("GET", "/blobs/") == 4 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	w.Close()
	p.wantNothing(t)
}

func TestPullPlatform(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushIndex(t, "multi:1", registrytest.ImageOptions{Platform: "linux/amd64"}, registrytest.ImageOptions{Platform: "linux/arm64"})
	reg.PushImage(t, "single:1", registrytest.ImageOptions{Platform: "linux/arm64"})
	reg.PushImage(t, "windows:1", registrytest.ImageOptions{Platform: "windows/amd64"})
	p := openPuller(t)
	for _, c := range []struct {
		image    string
		platform *names.Platform
		names    []string // what the error says there is; nil: it works
	}{
		{"multi:1", nil, nil},
		{"multi:1", &names.Platform{Architecture: "arm64"}, nil},
		{"multi:1", &names.Platform{Architecture: "s390x"}, []string{"linux/s390x", "linux/amd64", "linux/arm64"}},
		{"single:1", &names.Platform{OS: "linux", Architecture: "arm64"}, nil},
		{"single:1", nil, nil},
		{"windows:1", nil, []string{"windows/amd64"}},
		{"single:1", &names.Platform{OS: "windows"}, []string{"windows/", "linux/arm64"}},
	} {
		o := quick()
		o.Platform = c.platform
		_, err := p.pull(t, reg.Ref(c.image), o)
		if c.names == nil {
			if err != nil {
				t.Errorf("%s for %+v: %v", c.image, c.platform, err)
			}
			continue
		}
		if _, ok := errors.AsType[*errdefs.ReferenceNotFound](err); !ok {
			t.Errorf("%s for %+v: %v", c.image, c.platform, err)
			continue
		}
		for _, name := range c.names {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%s for %+v: %q does not say %s", c.image, c.platform, err, name)
			}
		}
	}
}

func TestPullPolicies(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Seed: 1})
	p := openPuller(t)
	with := func(policy engine.PullPolicy) engine.PullOptions {
		o := quick()
		o.Policy, o.Retries = policy, new(0)
		return o
	}
	if _, err := p.pull(t, reg.Ref("app:1"), with(engine.PullNever)); errdefs.Name(err) != "ImageNotFound" {
		t.Errorf("never, absent: %v", err)
	}
	old := p.mustPull(t, reg.Ref("app:1"), with(engine.PullMissing))
	reg.ForgetRequests()
	for _, policy := range []engine.PullPolicy{engine.PullNever, engine.PullMissing} {
		if diff := cmp.Diff(old, p.mustPull(t, reg.Ref("app:1"), with(policy))); diff != "" {
			t.Errorf("%s, present (-want +got):\n%s", policy, diff)
		}
	}
	if byID := p.mustPull(t, old.IDs[0], with(engine.PullMissing)); byID.IDs[0] != old.IDs[0] {
		t.Errorf("missing, by id: %+v", byID)
	}
	if n := len(reg.Requests()); n > 0 {
		t.Errorf("the registry was asked %d times", n)
	}
	if diff := cmp.Diff(old, p.mustPull(t, reg.Ref("app:1"), with(engine.PullNewer))); diff != "" {
		t.Errorf("newer, same (-want +got):\n%s", diff)
	}
	if n := reg.Count("GET", "/blobs/"); n > 1 { // the configuration
		t.Errorf("newer, same: %d blobs were fetched", n)
	}
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Seed: 2})
	fresh := p.mustPull(t, reg.Ref("app:1"), with(engine.PullNewer))
	if fresh.IDs[0] == old.IDs[0] {
		t.Error("newer, other: the old one was kept")
	}
	reg.Misbehave(registrytest.Rule{Fault: registrytest.Fault{Status: 500}})
	if diff := cmp.Diff(fresh, p.mustPull(t, reg.Ref("app:1"), with(engine.PullNewer))); diff != "" {
		t.Errorf("newer, registry fails (-want +got):\n%s", diff)
	}
	if _, err := p.pull(t, reg.Ref("app:1"), with(engine.PullAlways)); errdefs.Name(err) != "RegistryUnreachable" {
		t.Errorf("always, registry fails: %v", err)
	}
}

func TestPullAllTags(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	for _, image := range []string{"app:1", "app:2", "app:3", "other:1"} {
		reg.PushImage(t, image, registrytest.ImageOptions{})
	}
	p := openPuller(t)
	o := quick()
	o.AllTags = true
	r := p.mustPull(t, reg.Ref("app"), o)
	want := []string{reg.Ref("app:1"), reg.Ref("app:2"), reg.Ref("app:3")}
	if diff := cmp.Diff(want, r.Names); diff != "" || len(r.IDs) != 3 {
		t.Errorf("names (-want +got):\n%s\nids %v", diff, r.IDs)
	}
	if _, err := p.pull(t, reg.Ref("none"), o); errdefs.Name(err) != "ReferenceNotFound" {
		t.Errorf("all tags of nothing: %v", err)
	}
}

func TestPullRefusesBadParameters(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	for _, c := range []struct {
		reference string
		change    func(*engine.PullOptions)
		want      string
	}{
		{"", nil, "InvalidReference"},
		{"UPPER/case", nil, "InvalidReference"},
		{"https://user:geheim@registry.test/x", nil, "InvalidReference"},
		{"containers-storage:x", nil, "InvalidReference"},
		{"docker-daemon:x:1", nil, "InvalidReference"},
		{"tarball:/etc/passwd", nil, "InvalidReference"},
		{"ostree:x", nil, "InvalidReference"},
		{"sif:/x", nil, "InvalidReference"},
		{"docker-archive:relative", nil, "InvalidReference"},
		{strings.Repeat("a", 64), nil, "InvalidReference"},
		{strings.Repeat("x/", 5000), nil, "InvalidReference"},
		{"docker-archive:/x", nil, "PermissionDenied"},
		{"oci-archive:/x", nil, "PermissionDenied"},
		{"oci:/x", nil, "PermissionDenied"},
		{"dir:/x", nil, "PermissionDenied"},
		{"x", func(o *engine.PullOptions) { o.Policy = "sometimes" }, "InvalidParameter"},
		{"x", func(o *engine.PullOptions) { o.Retries = new(101) }, "InvalidParameter"},
		{"x", func(o *engine.PullOptions) { o.Retries = new(-1) }, "InvalidParameter"},
		{"x", func(o *engine.PullOptions) { o.RetryDelay = new(-time.Second) }, "InvalidParameter"},
		{"x", func(o *engine.PullOptions) { o.StallTimeout = new(time.Duration(0)) }, "InvalidParameter"},
		{"x", func(o *engine.PullOptions) { o.Credentials = &engine.Credentials{Username: "u"} }, "InvalidParameter"},
		{"x", func(o *engine.PullOptions) { o.Credentials = &engine.Credentials{Password: "p"} }, "InvalidParameter"},
		{"x", func(o *engine.PullOptions) { o.Credentials = &engine.Credentials{} }, "InvalidParameter"},
		{"x", func(o *engine.PullOptions) {
			o.Credentials = &engine.Credentials{Username: "u", Password: "p", IdentityToken: "t"}
		}, "InvalidParameter"},
		{"x:1", func(o *engine.PullOptions) { o.AllTags = true }, "InvalidParameter"},
		{"x@sha256:" + strings.Repeat("0", 64), func(o *engine.PullOptions) { o.AllTags = true }, "InvalidParameter"},
	} {
		o := quick()
		if c.change != nil {
			c.change(&o)
		}
		w, err := p.Pull(t.Context(), c.reference, o)
		if err == nil {
			w.Close()
		}
		if errdefs.Name(err) != c.want || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%.40q: %v, want %s", c.reference, err, c.want)
		}
	}
	if n := len(p.Jobs().List(0)); n > 0 {
		t.Errorf("%d jobs were started", n)
	}
}

func TestPullEndsWithTheCallersContext(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Pull(ctx, "x", quick()); errdefs.Name(err) != "Cancelled" {
		t.Errorf("pull with an ended context: %v", err)
	}
}
