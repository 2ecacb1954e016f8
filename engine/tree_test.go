package engine

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/engine/enginetest"
)

// family is an image, one that was built on it with a layer, and one of that without.
func family(t *testing.T, e *Engine) (base, child, same string) {
	t.Helper()
	base = enginetest.AddImage(t, e.store, enginetest.Image{Names: []string{"localhost/base:latest"}, Layers: []string{"1", "2"}})
	child = enginetest.AddImage(t, e.store, enginetest.Image{Names: []string{"localhost/child:latest"}, Layers: []string{"1", "2", "three"}})
	same = enginetest.AddImage(t, e.store, enginetest.Image{Layers: []string{"1", "2", "three"}, Empty: 1})
	return base, child, same
}

// shape is a layer without what differs from run to run.
type shape struct {
	Size          int64
	Images, Names []string
}

// shapes takes the shapes of layers, and fails unless parents stand before their children.
func shapes(t *testing.T, layers []Layer, err error) []shape {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var all []shape
	for i, l := range layers {
		if l.Parent != "" && !seen[l.Parent] && i > 0 {
			t.Errorf("layer %d stands before its parent", i)
		}
		seen[l.ID] = true
		all = append(all, shape{l.Size, l.Images, l.Names})
	}
	return all
}

func TestTree(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	base, child, same := family(t, e)
	top := []string{child, same}
	if same < child {
		top = []string{same, child}
	}
	other := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/other:latest"}, Layers: []string{"other"}, Platform: hostPlatform()})
	enginetest.AddList(t, store, []string{"localhost/list:latest"}, other)
	bottom := shape{Size: 1024 + 1024}
	for _, c := range []struct {
		name string
		opts TreeOptions
		want []shape
	}{
		{"base", TreeOptions{}, []shape{bottom, {2048, []string{base}, []string{"localhost/base:latest"}}}},
		{"child", TreeOptions{}, []shape{bottom, {2048, []string{base}, []string{"localhost/base:latest"}}, {2048, top, []string{"localhost/child:latest"}}}},
		{"base", TreeOptions{WhatRequires: true}, []shape{{2048, []string{base}, []string{"localhost/base:latest"}}, {2048, top, []string{"localhost/child:latest"}}}},
		{"list", TreeOptions{}, []shape{{2048, []string{other}, []string{"localhost/other:latest"}}}},
	} {
		layers, err := e.Tree(t.Context(), c.name, c.opts)
		got := shapes(t, layers, err)
		for i := range got { // how long a tar's end is does not matter
			got[i].Size = min(got[i].Size, 1)
			c.want[i].Size = min(c.want[i].Size, 1)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("Tree(%s, %+v):\n%s", c.name, c.opts, diff)
		}
	}
	_, err := e.Tree(t.Context(), "nothing", TreeOptions{})
	wantError(t, "Tree", err, "ImageNotFound")
	far := enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"far"}, Platform: hostPlatform()})
	enginetest.AddList(t, store, []string{"localhost/far:latest"}, far)
	if _, err := e.Remove(t.Context(), []string{far}, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = e.Tree(t.Context(), "far", TreeOptions{})
	wantError(t, "Tree of a list without images", err, "ImageNotFound")
}

func TestLayers(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	if layers, err := e.Layers(t.Context()); err != nil || len(layers) > 0 {
		t.Errorf("an empty store has %v, %v", layers, err)
	}
	family(t, e)
	other := enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"other"}})
	enginetest.AddContainer(t, store, other)
	layers, err := e.Layers(t.Context())
	if got := shapes(t, layers, err); len(got) != 5 {
		t.Errorf("%d layers, want 5: %+v", len(got), got)
	}
}

func TestDiskUsage(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	if u, err := e.DiskUsage(t.Context()); err != nil || u.Total != 0 || u.Reclaimable != 0 || len(u.Images) > 0 {
		t.Errorf("an empty store takes %+v, %v", u, err)
	}
	base, child, _ := family(t, e)
	alone := enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"alone"}})
	enginetest.AddContainer(t, store, base)
	u, err := e.DiskUsage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var sum, layers int64
	usage := map[string]Usage{}
	for _, img := range u.Images {
		usage[img.ID] = img
		if img.Size != img.Shared+img.Unique || img.Unique <= 0 {
			t.Errorf("%+v does not add up", img)
		}
		sum += img.Unique
	}
	tree, err := e.Tree(t.Context(), "child", TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range tree {
		layers += l.Size
	}
	if u.Total != sum+layers {
		t.Errorf("Total = %d, want the %d that one image uses and the %d that several use", u.Total, sum, layers)
	}
	if usage[alone].Shared != 0 || usage[child].Shared != layers || usage[base].Containers != 1 {
		t.Errorf("%+v", usage)
	}
	if want := u.Total - usage[base].Size; u.Reclaimable != want {
		t.Errorf("Reclaimable = %d, want %d", u.Reclaimable, want)
	}
}
