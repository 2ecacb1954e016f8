package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// pruned prunes and returns the ids of what went.
func pruned(t *testing.T, e *Engine, opts PruneOptions) []string {
	t.Helper()
	before, err := e.DiskUsage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done, err := e.Prune(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	var sum int64
	for _, p := range done.Removed {
		all = append(all, p.ID)
		sum += p.Size
	}
	after, err := e.DiskUsage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if freed := before.Total - after.Total; done.Reclaimed != freed || sum != freed {
		t.Errorf("Reclaimed = %d, the images' sum is %d, but %d came free", done.Reclaimed, sum, freed)
	}
	slices.Sort(all)
	return all
}

func sorted(ids ...string) []string {
	slices.Sort(ids)
	return ids
}

func TestPrune(t *testing.T) {
	t.Parallel()
	type world struct{ named, used, old, young, parent, leaf, list string }
	setUp := func(t *testing.T) (*Engine, world) {
		e, store := open(t)
		label := func(v string) imgspec.ImageConfig { return imgspec.ImageConfig{Labels: map[string]string{"age": v}} }
		w := world{
			named:  enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/named:latest"}, Layers: []string{"base", "1"}}),
			used:   enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"base", "2"}}),
			old:    enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"base", "3"}, Config: label("old")}),
			young:  enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"base", "4"}, Config: label("young"), Created: enginetest.Epoch.AddDate(0, 1, 0)}),
			parent: enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"base", "5"}}),
			leaf:   enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"base", "5"}, Empty: 1}),
		}
		w.list = enginetest.AddList(t, store, []string{"localhost/list:latest"}, w.named)
		enginetest.AddContainer(t, store, w.used)
		return e, w
	}
	for name, c := range map[string]struct {
		opts PruneOptions
		want func(world) []string
	}{
		"dangling":          {PruneOptions{}, func(w world) []string { return sorted(w.old, w.young, w.parent, w.leaf) }},
		"all":               {PruneOptions{All: true}, func(w world) []string { return sorted(w.named, w.list, w.old, w.young, w.parent, w.leaf) }},
		"all by filter":     {PruneOptions{Filters: []string{"all=true", "label=age"}}, func(w world) []string { return sorted(w.old, w.young) }},
		"not all":           {PruneOptions{Filters: []string{"all=false", "label=age=old"}}, func(w world) []string { return sorted(w.old) }},
		"label":             {PruneOptions{Filters: []string{"label!=age"}}, func(w world) []string { return sorted(w.parent, w.leaf) }},
		"until":             {PruneOptions{Filters: []string{"until=2024-02-20T00:00:00Z", "label=age"}}, func(w world) []string { return sorted(w.old) }},
		"not dangling":      {PruneOptions{Filters: []string{"dangling=false", "label!=age"}}, func(w world) []string { return sorted(w.named, w.list, w.parent, w.leaf) }},
		"reference":         {PruneOptions{All: true, Filters: []string{"reference=named"}}, func(w world) []string { return sorted(w.named) }},
		"with containers":   {PruneOptions{All: true, Filters: []string{"containers=true"}}, func(world) []string { return nil }},
		"foreign container": {PruneOptions{External: true, Filters: []string{"label=none"}}, func(world) []string { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, w := setUp(t)
			got := pruned(t, e, c.opts)
			want := c.want(w)
			if name == "not dangling" { // the leaf dangles, and so its parent never goes
				want = slices.DeleteFunc(want, func(id string) bool { return id == w.leaf })
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPruneParameters(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	enginetest.AddImage(t, store, enginetest.Image{})
	for _, bad := range []string{"", "all", "all=maybe", "all!=true", "nonsense=1", "dangling=maybe", "until=x", "label"} {
		_, err := e.Prune(t.Context(), PruneOptions{Filters: []string{bad}})
		if p, ok := errors.AsType[*errdefs.InvalidParameter](err); !ok || p.Parameter != "filters" {
			t.Errorf("Prune(%q) = %v", bad, err)
		}
	}
	_, err := e.Prune(t.Context(), PruneOptions{Filters: make([]string, e.imageLimits.Filters+1)})
	wantError(t, "too many filters", err, "LimitExceeded")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.Prune(ctx, PruneOptions{})
	wantError(t, "after the end", err, "Cancelled")
}

func TestPruneWaitsForANewImagesName(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	id := enginetest.AddImage(t, store, enginetest.Image{})
	done := make(chan []string)
	go func() { done <- pruned(t, e, PruneOptions{}) }()
	if err := store.AddNames(id, []string{"localhost/named:latest"}); err != nil {
		t.Fatal(err)
	}
	if got := <-done; len(got) > 0 {
		t.Errorf("an image went before it got its name")
	}
	ctx, cancel := context.WithCancel(t.Context())
	enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"other"}})
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := e.Prune(ctx, PruneOptions{})
	wantError(t, "while it waits", err, "Cancelled")
}

func TestPruneExternal(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	add := func(layer, file string) (image, container string) {
		image = enginetest.AddImage(t, store, enginetest.Image{Layers: []string{layer}})
		container = enginetest.AddContainer(t, store, image)
		dir, err := store.ContainerDirectory(container)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		return image, container
	}
	built, left := add("1", buildahFile)
	_, _ = add("2", "other")
	_, imported := add("3", buildahFile)
	dir, err := store.ContainerDirectory(imported)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, podmanFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	_, busy := add("4", buildahFile)
	if _, err := store.Mount(busy, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := store.Unmount(busy, true); err != nil {
			t.Error(err)
		}
	}()
	if got := pruned(t, e, PruneOptions{}); len(got) > 0 {
		t.Errorf("without external %v went", got)
	}
	if got := pruned(t, e, PruneOptions{External: true}); !slices.Equal(got, []string{built}) {
		t.Errorf("%v went, want %s", got, built)
	}
	if _, err := store.Container(left); err == nil {
		t.Error("its container is still there")
	}
}

func TestPruneBuildCache(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	e, _ := open(t)
	cache := filepath.Join(tmp, "buildah-cache-0", "id")
	outside := filepath.Join(tmp, "outside")
	err := errors.Join(os.MkdirAll(cache, 0o700), os.WriteFile(filepath.Join(cache, "file"), make([]byte, 100_000), 0o600),
		os.WriteFile(outside, make([]byte, 100_000), 0o600), os.Link(filepath.Join(cache, "file"), filepath.Join(cache, "again")),
		os.Symlink(outside, filepath.Join(cache, "link")))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		done, err := e.Prune(t.Context(), PruneOptions{BuildCache: true})
		if err != nil || want != (done.Reclaimed >= 100_000) || done.Reclaimed > 199_000 {
			t.Errorf("round %d: %d bytes came free, %v", i, done.Reclaimed, err)
		}
	}
	if exists(filepath.Dir(cache)) || !exists(outside) {
		t.Error("the cache is still there, or something else is not")
	}
}
