package index_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containers/image/v5/manifest"

	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/index"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

func snapshot(t testing.TB, x *index.Index) *index.Snapshot {
	t.Helper()
	s, err := x.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSnapshotFollowsTheStore(t *testing.T) {
	t.Parallel()
	store := enginetest.OpenStore(t, enginetest.NewDirs(t))
	x, err := index.New(store)
	if err != nil {
		t.Fatal(err)
	}
	if s := snapshot(t, x); s.Len() != 0 {
		t.Errorf("an empty store has %d images", s.Len())
	}
	base := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"1"}})
	child := enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"1", "2"}})
	s := snapshot(t, x)
	if s != snapshot(t, x) {
		t.Error("a store that did not change was read anew")
	}
	p, c := s.ByID(base), s.ByName("localhost/a:latest")
	if p == nil || p != c || !p.IsParent || s.ByID(child).Parent != p || p.SharedSize == 0 {
		t.Errorf("images: %+v, %+v", p, s.ByID(child))
	}
	if got := s.ByIDPrefix(child[:10]); len(got) != 1 || got[0].ID != child {
		t.Errorf("ByIDPrefix = %v", got)
	}
	if got := s.ByIDPrefix("x"); len(got) != 0 {
		t.Errorf("ByIDPrefix = %v", got)
	}
	if err := store.AddNames(child, []string{"localhost/a:latest"}); err != nil {
		t.Fatal(err)
	}
	container := enginetest.AddContainer(t, store, child)
	s = snapshot(t, x)
	if img := s.ByName("localhost/a:latest"); img.ID != child || !slices.Equal(img.Containers, []string{container}) {
		t.Errorf("image = %+v", img)
	}
	if n, err := x.CountLayers(); err != nil || n != 3 {
		t.Errorf("CountLayers = %d, %v, want 3", n, err)
	}
	if err := store.DeleteContainer(container); err != nil {
		t.Fatal(err)
	}
	if _, err := store.DeleteImage(child, true); err != nil {
		t.Fatal(err)
	}
	if s := snapshot(t, x); s.Len() != 1 || s.ByID(base).IsParent || s.ByID(base).SharedSize != 0 {
		t.Errorf("after the removal: %+v", s.ByID(base))
	}
}

func TestManifestListIsReadAnew(t *testing.T) {
	t.Parallel()
	store := enginetest.OpenStore(t, enginetest.NewDirs(t))
	x, err := index.New(store)
	if err != nil {
		t.Fatal(err)
	}
	a := enginetest.AddImage(t, store, enginetest.Image{})
	list := enginetest.AddList(t, store, nil, a)
	if got := snapshot(t, x).ByID(list).Facts; !got.List || len(got.Instances) != 1 {
		t.Fatalf("facts = %+v", got)
	}
	empty := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	if err := store.SetImageBigData(list, "manifest", empty, manifest.Digest); err != nil {
		t.Fatal(err)
	}
	if got := snapshot(t, x).ByID(list).Facts; !got.List || len(got.Instances) != 0 {
		t.Errorf("facts = %+v", got)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x := index.Open([]index.Place{{Images: dir}})
	if s := snapshot(t, x); s.Len() != 0 {
		t.Errorf("%d images in an empty folder", s.Len())
	}
	if err := os.WriteFile(filepath.Join(dir, "images.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Snapshot(t.Context()); err == nil {
		t.Error("garbage was taken for records")
	}
	if err := os.WriteFile(filepath.Join(dir, "images.json"), []byte(`[{"id":"../../x"},{"id":""},{"id":"b","layer":"ring"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := snapshot(t, x); s.Len() != 2 || s.ByID("b").Facts.Err == nil {
		t.Errorf("%d images", s.Len())
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if _, err := x.Snapshot(ctx); !errors.Is(err, gone) {
		t.Errorf("Snapshot = %v", err)
	}
}

// What a store's files hold comes from other programs, and may have been cut off or garbled.
func FuzzRecords(f *testing.F) {
	f.Add([]byte(`[{"id":"a","layer":"l","names":["x"],"big-data-digests":{"manifest":"sha256:1"}}]`), []byte(`[{"id":"l","parent":"l","diff-size":-1}]`), []byte(`{}`))
	f.Add([]byte(`[{"id":"a"}]`), []byte(`null`), []byte(`{"schemaVersion":2,"config":{"digest":"sha256:x"}}`))
	f.Fuzz(func(t *testing.T, images, layers, manifest []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"images.json": images, "layers.json": layers, "a/manifest": manifest} {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		x := index.Open([]index.Place{{Images: dir, Layers: []string{filepath.Join(dir, "layers.json")}}})
		s, err := x.Snapshot(t.Context())
		if err != nil {
			return
		}
		for img := range s.Images() {
			if img.Size < 0 || img.SharedSize < 0 || len(img.LayerSizes()) > len(layers) {
				t.Errorf("image = %+v", img)
			}
			if c := img.Facts.Config; c != nil && len(s.AtStep(img, len(c.History))) == 0 {
				t.Errorf("the image is not what its last step made: %+v", img)
			}
		}
	})
}
