package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage/pkg/lockfile"
	"github.com/google/go-cmp/cmp"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
)

// ids lists the images that fit, newest first.
func ids(t *testing.T, e *Engine, opts ListOptions) []string {
	t.Helper()
	var all []string
	for img, err := range e.List(t.Context(), opts) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, img.ID)
	}
	return all
}

// wantError fails unless err is the error of this name.
func wantError(t *testing.T, what string, err error, name string) {
	t.Helper()
	if got := errdefs.Name(err); got != name {
		t.Errorf("%s = %v (%s), want %s", what, err, got, name)
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	day := func(n int) time.Time { return enginetest.Epoch.AddDate(0, 0, n) }
	base := enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"a"}, Created: day(0)})
	app := enginetest.AddImage(t, store, enginetest.Image{
		Names: []string{"docker.io/library/app:1", "quay.io/team/app:2"}, Layers: []string{"b"}, Created: day(1),
		Config: imgspec.ImageConfig{Labels: map[string]string{"tier": "web", "org.x": "1"}},
	})
	arm := enginetest.AddImage(t, store, enginetest.Image{
		Names: []string{"localhost/arm:latest"}, Layers: []string{"c"}, Created: day(2),
		Config: imgspec.ImageConfig{Labels: map[string]string{"tier": "db"}}, Platform: imgspec.Platform{OS: "linux", Architecture: "arm64"},
	})
	list := enginetest.AddList(t, store, []string{"localhost/list:latest"}, arm)
	enginetest.AddContainer(t, store, app)
	for _, c := range []struct {
		filters []string
		want    []string
	}{
		{nil, []string{list, arm, app, base}},
		{[]string{"reference=app"}, []string{app}},
		{[]string{"reference=*/team/app:2"}, []string{app}},
		{[]string{"reference=quay.io/team/app"}, []string{app}},
		{[]string{"reference=localhost/*"}, []string{list, arm}},
		{[]string{"reference=app", "reference=arm"}, []string{arm, app}},
		{[]string{"reference!=app", "manifest=false"}, []string{arm, base}},
		{[]string{"label=tier"}, []string{arm, app}},
		{[]string{"label=tier=web"}, []string{app}},
		{[]string{"label=tier=web", "label=tier=db"}, []string{arm, app}},
		{[]string{"label!=tier=web", "label=tier"}, []string{arm}},
		{[]string{"label=org.*"}, []string{app}},
		{[]string{"dangling=true"}, []string{base}},
		{[]string{"dangling!=true", "containers=false"}, []string{list, arm}},
		{[]string{"containers=true"}, []string{app}},
		{[]string{"manifest=true"}, []string{list}},
		{[]string{"readonly=true"}, nil},
		{[]string{"intermediate=true"}, nil},
		{[]string{"since=quay.io/team/app:2", "manifest=false"}, []string{arm}},
		{[]string{"after=" + base, "before=arm"}, []string{app}},
		{[]string{"until=2024-02-04T00:00:00Z"}, []string{base}},
		{[]string{"id=" + app[:12]}, []string{app}},
		{[]string{"id=sha256:" + app}, []string{app}},
		{[]string{"digest=sha256:"}, []string{list, arm, app, base}},
	} {
		if got := ids(t, e, ListOptions{Filters: c.filters}); !slices.Equal(got, c.want) {
			t.Errorf("List(%q) = %v, want %v", c.filters, got, c.want)
		}
	}
	for _, bad := range []string{"", "nonsense=1", "label", "dangling=maybe", "since=nothing", "until=x", "reference=[", "digest=1", "=x", "id="} {
		for _, err := range e.List(t.Context(), ListOptions{Filters: []string{bad}}) {
			wantError(t, "List("+bad+")", err, "InvalidParameter")
			if p, ok := errors.AsType[*errdefs.InvalidParameter](err); ok && p.Parameter != "filters" {
				t.Errorf("List(%s) blames %s", bad, p.Parameter)
			}
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	hub := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"docker.io/library/hub:latest"}, Layers: []string{"1"}})
	deep := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"registry.example/some/deep:v1"}, Layers: []string{"2"}})
	enginetest.AddImage(t, store, enginetest.Image{Names: []string{"one.example/twice:latest"}, Layers: []string{"3"}})
	enginetest.AddImage(t, store, enginetest.Image{Names: []string{"two.example/twice:latest"}, Layers: []string{"4"}})
	deepImage, err := e.Get(t.Context(), deep)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"hub": hub, "hub:latest": hub, "library/hub": hub, "docker.io/hub": hub, "docker.io/library/hub": hub,
		hub: hub, "sha256:" + hub: hub, hub[:20]: hub,
		"deep:v1": deep, "some/deep:v1": deep, "registry.example/some/deep:v1": deep,
		"registry.example/some/deep@" + deepImage.Digest:       deep,
		"registry.example/some/deep:other@" + deepImage.Digest: deep,
		"deep@" + deepImage.Digest:                             deep,
	} {
		if img, err := e.Get(t.Context(), name); err != nil || img.ID != want {
			t.Errorf("Get(%s) = %s, %v, want %s", name, img.ID, err, want)
		}
	}
	for name, want := range map[string]string{
		"nothing": "ImageNotFound", "deep": "ImageNotFound", "eep:v1": "ImageNotFound", "hub:other": "ImageNotFound",
		"other.example/hub": "ImageNotFound", "hub@" + deepImage.Digest: "ImageNotFound", strings.Repeat("0", 64): "ImageNotFound",
		"twice": "AmbiguousName",
		"":      "InvalidReference", "UPPER": "InvalidReference", "hub\n": "InvalidReference", "hub\x00": "InvalidReference", " hub": "InvalidReference",
		"sha256:12": "InvalidReference", "docker://hub": "InvalidReference", "dir:/etc": "InvalidReference", "hub:": "InvalidReference",
		"containers-storage:[vfs@/x]hub": "InvalidReference", strings.Repeat("a/", 200) + "x": "InvalidReference", "\u200bhub": "InvalidReference",
	} {
		_, err := e.Get(t.Context(), name)
		wantError(t, "Get("+name+")", err, want)
	}
	if exists, err := e.Exists(t.Context(), "nothing"); exists || err != nil {
		t.Errorf("Exists(nothing) = %t, %v", exists, err)
	}
	_, err = e.Exists(t.Context(), "twice")
	wantError(t, "Exists(twice)", err, "AmbiguousName")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the client went away"))
	_, err = e.Get(ctx, "hub")
	wantError(t, "Get with an ended context", err, "Cancelled")
}

func TestInspectAndHistory(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	config := imgspec.ImageConfig{
		User: "me", Env: []string{"A=b"}, Cmd: []string{"run"}, Volumes: map[string]struct{}{"/v": {}, "/a": {}},
		ExposedPorts: map[string]struct{}{"80/tcp": {}}, Labels: map[string]string{"l": "1"}, WorkingDir: "/w", StopSignal: "INT",
	}
	base := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/base:latest"}, Layers: []string{"one"}})
	top := enginetest.AddImage(t, store, enginetest.Image{
		Names: []string{"localhost/top:latest"}, Layers: []string{"one", "two"}, Config: config, Empty: 1,
	})
	in, err := e.Inspect(t.Context(), "top", InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := ImageConfig{
		User: "me", ExposedPorts: []string{"80/tcp"}, Env: []string{"A=b"}, Cmd: []string{"run"}, Volumes: []string{"/a", "/v"},
		WorkingDir: "/w", Labels: map[string]string{"l": "1"}, StopSignal: "INT",
	}
	if diff := cmp.Diff(want, in.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	var raw imgspec.Image
	if err := json.Unmarshal(in.Raw, &raw); err != nil || raw.Config.User != "me" {
		t.Errorf("raw = %s, %v", in.Raw, err)
	}
	if len(in.Layers) != 2 || in.Driver != enginetest.Driver || in.ManifestType != imgspec.MediaTypeImageManifest || in.Author != "a test" {
		t.Errorf("inspection = %+v", in)
	}
	size, err := store.ImageSize(top)
	if err != nil || in.Size != size {
		t.Errorf("size = %d, the library says %d, %v", in.Size, size, err)
	}
	layer, err := store.Layer(in.TopLayer)
	if err != nil || in.SharedSize != in.History[2].Size || in.History[1].Size != layer.UncompressedSize {
		t.Errorf("shared %d, history %+v, %v", in.SharedSize, in.History, err)
	}
	type step struct {
		id, by string
		tags   []string
		empty  bool
	}
	var got []step
	for _, h := range in.History {
		got = append(got, step{h.ID, h.CreatedBy, h.Tags, h.Empty})
	}
	steps := []step{
		{top, "nothing", []string{"localhost/top:latest"}, true},
		{"", "add two", nil, false},
		{base, "add one", []string{"localhost/base:latest"}, false},
	}
	if diff := cmp.Diff(steps, got, cmp.AllowUnexported(step{})); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestInspectPlatform(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	arm := enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"arm"}, Platform: imgspec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}})
	list := enginetest.AddList(t, store, []string{"localhost/list:latest"}, arm)
	in, err := e.Inspect(t.Context(), "list", InspectOptions{})
	if err != nil || in.ID != list || !in.ManifestList || in.Platform != nil || !strings.Contains(string(in.Raw), "manifests") {
		t.Errorf("Inspect(list) = %+v, %v", in, err)
	}
	for _, p := range []names.Platform{{Architecture: "arm64"}, {OS: "linux", Architecture: "aarch64"}, {OS: "linux", Architecture: "arm64", Variant: "v8"}} {
		for _, name := range []string{"list", arm} {
			if in, err := e.Inspect(t.Context(), name, InspectOptions{Platform: &p}); err != nil || in.ID != arm {
				t.Errorf("Inspect(%s, %s) = %s, %v", name, p, in.ID, err)
			}
		}
	}
	for _, name := range []string{"list", arm} {
		_, err := e.Inspect(t.Context(), name, InspectOptions{Platform: &names.Platform{OS: "linux", Architecture: "s390x"}})
		wantError(t, "Inspect for another platform", err, "ImageNotFound")
	}
	if img, err := e.Get(t.Context(), arm); err != nil || img.Dangling {
		t.Errorf("an image that a list names is dangling: %+v, %v", img, err)
	}
}

func TestBrokenImagesAreListed(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	data := func(id, name string) string {
		return filepath.Join(store.GraphRoot(), "overlay-images", id, name)
	}
	garbled := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/garbled:latest"}, Layers: []string{"1"}})
	truncated := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/truncated:latest"}, Layers: []string{"2"}})
	gone := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/gone:latest"}, Layers: []string{"3"}})
	if err := errors.Join(
		os.WriteFile(data(garbled, "="+base64.StdEncoding.EncodeToString([]byte("sha256:"+garbled))), []byte("{}"), 0o600),
		os.Truncate(data(truncated, "manifest"), 7),
		os.RemoveAll(filepath.Dir(data(gone, "manifest"))),
	); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, e, ListOptions{}); len(got) != 3 {
		t.Errorf("List = %v, want 3 images", got)
	}
	for _, id := range []string{garbled, truncated, gone} {
		if img, err := e.Get(t.Context(), id); err != nil || len(img.Names) != 1 || img.Size == 0 {
			t.Errorf("Get = %+v, %v", img, err)
		}
		_, err := e.Inspect(t.Context(), id, InspectOptions{})
		wantError(t, "Inspect", err, "Failed")
		_, err = e.History(t.Context(), id)
		wantError(t, "History", err, "Failed")
		if _, err := e.Remove(t.Context(), []string{id}, RemoveOptions{}); err != nil {
			t.Errorf("Remove = %v", err)
		}
	}
}

func TestReadsDoNotWaitForLayers(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}})
	// These are what an unpacking pull holds.
	for _, kind := range []string{"layers", "containers"} {
		lock, err := lockfile.GetLockFile(filepath.Join(store.GraphRoot(), "overlay-"+kind, kind+".lock"))
		if err != nil {
			t.Fatal(err)
		}
		lock.Lock()
		defer lock.Unlock()
	}
	if got := ids(t, e, ListOptions{}); len(got) != 1 {
		t.Errorf("List = %v", got)
	}
	if _, err := e.Inspect(t.Context(), "a", InspectOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := e.History(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if _, err := e.Info(t.Context()); err != nil {
		t.Error(err)
	}
}
