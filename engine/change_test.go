package engine

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
)

func namesOf(t *testing.T, e *Engine, id string) []string {
	t.Helper()
	img, err := e.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(slices.Values(img.Names))
}

func TestTag(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	a := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"1"}})
	b := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/b:latest"}, Layers: []string{"2"}})
	if err := e.Tag(t.Context(), "a", []string{"b", "short:1", "docker.io/x"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"docker.io/library/x:latest", "localhost/a:latest", "localhost/b:latest", "localhost/short:1"}
	if diff := cmp.Diff(want, namesOf(t, e, a)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if got := namesOf(t, e, b); len(got) != 0 {
		t.Errorf("the name did not move: %v", got)
	}
	img, err := e.Get(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for name, tags := range map[string][]string{
		"InvalidReference": {"fine", "NOT FINE"}, "InvalidParameter": nil, "LimitExceeded": make([]string, e.imageLimits.Tags+1),
	} {
		wantError(t, fmt.Sprint("Tag ", name), e.Tag(t.Context(), "a", tags), name)
	}
	wantError(t, "Tag with a digest", e.Tag(t.Context(), "a", []string{"x@" + img.Digest}), "InvalidReference")
	wantError(t, "Tag of nothing", e.Tag(t.Context(), "nothing", []string{"x"}), "ImageNotFound")
	if diff := cmp.Diff(want, namesOf(t, e, a)); diff != "" {
		t.Errorf("a failed call changed names (-want +got):\n%s", diff)
	}
}

func TestUntag(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	all := []string{"localhost/a:latest", "localhost/b:1", "quay.io/c:latest"}
	id := enginetest.AddImage(t, store, enginetest.Image{Names: all})
	wantError(t, "unknown", e.Untag(t.Context(), id, []string{"a", "b"}), "ImageNotFound")
	wantError(t, "tag alone", e.Untag(t.Context(), id, []string{":latest"}), "InvalidParameter")
	wantError(t, "nonsense", e.Untag(t.Context(), id, []string{"a", "!"}), "InvalidReference")
	if diff := cmp.Diff(all, namesOf(t, e, id)); diff != "" {
		t.Errorf("a failed call changed names (-want +got):\n%s", diff)
	}
	if err := e.Untag(t.Context(), "b:1", []string{"a"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[1:], namesOf(t, e, id)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for range 2 { // an image without names has none to lose
		if err := e.Untag(t.Context(), id, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := namesOf(t, e, id); len(got) != 0 {
		t.Errorf("names = %v", got)
	}
}

func TestRemoveByNameAndID(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	id := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:1", "localhost/a:2", "localhost/a:3"}})
	got, err := e.Remove(t.Context(), []string{"a:1"}, RemoveOptions{Force: true})
	want := []Removal{{Name: "a:1", ID: id, Untagged: []string{"localhost/a:1"}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("by name: %v (-want +got):\n%s", err, diff)
	}
	_, err = e.Remove(t.Context(), []string{id}, RemoveOptions{})
	wantError(t, "by id", err, "ImageInUse")
	if in, ok := errors.AsType[*errdefs.ImageInUse](err); ok && (len(in.Names) != 2 || len(in.Containers) != 0) {
		t.Errorf("by id: %+v", in)
	}
	got, err = e.Remove(t.Context(), []string{id[:12]}, RemoveOptions{Force: true})
	want = []Removal{{Name: id[:12], ID: id, Untagged: []string{"localhost/a:2", "localhost/a:3"}, Deleted: []string{id}}}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" || err != nil {
		t.Errorf("by id with force: %v (-want +got):\n%s", err, diff)
	}
	if layers, err := store.Layers(); err != nil || len(layers) != 0 {
		t.Errorf("layers left: %v, %v", layers, err)
	}
}

func TestRemoveInUse(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	id := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/used:latest"}})
	container := enginetest.AddContainer(t, store, id)
	_, err := e.Remove(t.Context(), []string{"used"}, RemoveOptions{})
	if in, ok := errors.AsType[*errdefs.ImageInUse](err); !ok || !slices.Equal(in.Containers, []string{container}) {
		t.Errorf("Remove = %v, want ImageInUse by %s", err, container)
	}
	if got, err := e.Remove(t.Context(), []string{"used"}, RemoveOptions{Force: true}); err != nil || !slices.Equal(got[0].Deleted, []string{id}) {
		t.Errorf("Remove with force = %+v, %v", got, err)
	}
	if left, err := store.Containers(); err != nil || len(left) != 0 {
		t.Errorf("containers left: %v, %v", left, err)
	}
}

func TestRemoveMany(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	a := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"1"}})
	b := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/b:latest"}, Layers: []string{"2"}})
	got, err := e.Remove(t.Context(), []string{"a", "nothing", "BAD", "b", "a"}, RemoveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"", "ImageNotFound", "InvalidReference", "", "ImageNotFound"} {
		if name := errdefs.Name(got[i].Err); name != want {
			t.Errorf("result %d: %v, want %q", i, got[i].Err, want)
		}
	}
	if !slices.Equal(got[0].Deleted, []string{a}) || !slices.Equal(got[3].Deleted, []string{b}) {
		t.Errorf("results = %+v", got)
	}
	if got, err := e.Remove(t.Context(), []string{"nothing"}, RemoveOptions{Ignore: true}); err != nil || got[0].Err != nil {
		t.Errorf("with ignore: %+v, %v", got, err)
	}
	for _, c := range []struct {
		names []string
		opts  RemoveOptions
	}{{nil, RemoveOptions{}}, {[]string{"a"}, RemoveOptions{All: true}}} {
		_, err := e.Remove(t.Context(), c.names, c.opts)
		wantError(t, "Remove", err, "InvalidParameter")
	}
}

func TestRemovePrunesParents(t *testing.T) {
	t.Parallel()
	for _, noPrune := range []bool{false, true} {
		e, store := open(t)
		base := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/base:latest"}, Layers: []string{"1"}})
		middle := enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"1", "2"}})
		child := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/child:latest"}, Layers: []string{"1", "2"}, Empty: 1})
		if got := ids(t, e, ListOptions{}); slices.Contains(got, middle) || len(got) != 2 {
			t.Errorf("List = %v: it shows an intermediate image, or not the others", got)
		}
		if got := ids(t, e, ListOptions{Filters: []string{"intermediate=true"}}); !slices.Equal(got, []string{middle}) {
			t.Errorf("List of intermediate images = %v", got)
		}
		if img, err := e.Get(t.Context(), middle); err != nil || !img.Intermediate || img.Parent != base {
			t.Errorf("Get = %+v, %v", img, err)
		}
		want := []string{child, middle}
		if noPrune {
			want = want[:1]
		}
		got, err := e.Remove(t.Context(), []string{"child"}, RemoveOptions{NoPrune: noPrune})
		if err != nil || !slices.Equal(got[0].Deleted, want) {
			t.Errorf("noPrune=%t: %+v, %v, want %v deleted", noPrune, got, err, want)
		}
	}
}

func TestRemoveManifestList(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	instance := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/instance:latest"}, Layers: []string{"1"}, Platform: hostPlatform()})
	list := enginetest.AddList(t, store, []string{"localhost/list:latest"}, instance)
	_, err := e.Remove(t.Context(), []string{"instance"}, RemoveOptions{LookupManifest: true})
	wantError(t, "Remove of an image", err, "ImageNotFound")
	if got, err := e.Remove(t.Context(), []string{"list"}, RemoveOptions{LookupManifest: true}); err != nil || !slices.Equal(got[0].Deleted, []string{list}) {
		t.Errorf("Remove = %+v, %v", got, err)
	}
	list = enginetest.AddList(t, store, []string{"localhost/list:latest"}, instance)
	if got, err := e.Remove(t.Context(), []string{"list"}, RemoveOptions{}); err != nil || !slices.Equal(got[0].Deleted, []string{instance}) {
		t.Errorf("Remove = %+v, %v", got, err)
	}
	if got, err := e.Remove(t.Context(), []string{"list"}, RemoveOptions{}); err != nil || !slices.Equal(got[0].Deleted, []string{list}) {
		t.Errorf("Remove of a list without images = %+v, %v", got, err)
	}
}

func hostPlatform() imgspec.Platform {
	host := names.Host()
	return imgspec.Platform{OS: host.OS, Architecture: host.Architecture, Variant: host.Variant}
}

func TestConcurrentChanges(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	const images = 6
	for i := range images {
		enginetest.AddImage(t, store, enginetest.Image{Names: []string{fmt.Sprintf("localhost/i%d:latest", i)}, Layers: []string{"base", fmt.Sprint(i)}})
	}
	var wg sync.WaitGroup
	for i := range images {
		name := fmt.Sprintf("i%d", i)
		wg.Go(func() {
			for n := range 5 {
				if err := e.Tag(t.Context(), name, []string{fmt.Sprintf("t%d:%d", i, n)}); err != nil {
					t.Error(err)
				}
			}
			if err := e.Untag(t.Context(), name, []string{name}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for range 20 {
				ids(t, e, ListOptions{All: true})
				if _, err := e.Exists(t.Context(), name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := e.Remove(t.Context(), nil, RemoveOptions{All: true})
	if err != nil || len(got) != images {
		t.Errorf("Remove of all = %+v, %v", got, err)
	}
	if left := ids(t, e, ListOptions{All: true}); len(left) != 0 {
		t.Errorf("images left: %v", left)
	}
}
