package service_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/service"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/varlinktest"
)

// world is a served engine.
type world struct {
	engine *engine.Engine
	dirs   enginetest.Dirs
	server *varlink.Server
	client *images.Client
}

// serve serves an engine on a store of its own until the test ends.
func serve(t *testing.T) world {
	t.Helper()
	d := enginetest.NewDirs(t)
	e, err := engine.Open(t.Context(), engine.Options{Root: d.Root, RunRoot: d.RunRoot, Driver: enginetest.Driver, TmpDir: d.Tmp, ConfigDir: d.Config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	log := logrus.New()
	log.SetOutput(t.Output())
	s := new(varlink.Server)
	if err := service.Register(s, e, log); err != nil {
		t.Fatal(err)
	}
	return world{e, d, s, images.NewClient(varlinktest.NewClient(t, s))}
}

// add puts an image into the store.
func (w world) add(t *testing.T, img enginetest.Image) string {
	t.Helper()
	return enginetest.AddImage(t, enginetest.Store(t, w.dirs), img)
}

// collect reads a stream to its end and returns its replies.
func collect[T any](t *testing.T, stream iter.Seq2[T, error]) []T {
	t.Helper()
	var all []T
	for out, err := range stream {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, out)
	}
	return all
}

func TestTreeAndLayers(t *testing.T) {
	t.Parallel()
	w := serve(t)
	id := w.add(t, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"1", "2"}})
	tree, err := w.client.Tree(t.Context(), images.TreeIn{Name: "a"})
	if err != nil || len(tree.Layers) != 2 {
		t.Fatalf("Tree = %+v, %v", tree, err)
	}
	bottom, top := tree.Layers[0], tree.Layers[1]
	if bottom.Parent != nil || len(bottom.Images) > 0 || top.Parent == nil || *top.Parent != bottom.ID {
		t.Errorf("Tree = %+v", tree)
	}
	if diff := cmp.Diff(images.Layer{ID: top.ID, Parent: &bottom.ID, Size: top.Size, Images: []string{id}, Names: []string{"localhost/a:latest"}}, top); diff != "" {
		t.Error(diff)
	}
	layers, err := w.client.Layers(t.Context(), images.LayersIn{})
	if diff := cmp.Diff(tree.Layers, layers.Layers); err != nil || diff != "" {
		t.Error(err, diff)
	}
	above, err := w.client.Tree(t.Context(), images.TreeIn{Name: "a", WhatRequires: new(true)})
	if diff := cmp.Diff(tree.Layers[1:], above.Layers); err != nil || diff != "" {
		t.Error(err, diff)
	}
	_, err = w.client.Tree(t.Context(), images.TreeIn{Name: "b"})
	if e, ok := errors.AsType[*images.ImageNotFoundError](err); !ok || e.Name != "b" {
		t.Errorf("Tree of no image: %v", err)
	}
}

func TestDiffInBatches(t *testing.T) {
	t.Parallel()
	const files = 2500
	w := serve(t)
	var buf bytes.Buffer
	archive := tar.NewWriter(&buf)
	for i := range files {
		if err := archive.WriteHeader(&tar.Header{Name: fmt.Sprintf("f%04d", i), Typeflag: tar.TypeReg, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	w.add(t, enginetest.Image{Names: []string{"localhost/a:latest"}, Tars: [][]byte{buf.Bytes()}})
	w.add(t, enginetest.Image{Names: []string{"localhost/empty:latest"}})
	one, err := w.client.Diff(t.Context(), images.DiffIn{Name: "a", Other: new("empty")})
	if err != nil || len(one.Changes) != files || one.Changes[1] != (images.Change{Path: "/f0001", Kind: images.ChangeKindAdded}) {
		t.Fatalf("Diff = %d changes, %v", len(one.Changes), err)
	}
	var sizes []int
	var all []images.Change
	for _, out := range collect(t, w.client.DiffStream(t.Context(), images.DiffIn{Name: "a"})) {
		sizes = append(sizes, len(out.Changes))
		all = append(all, out.Changes...)
	}
	if diff := cmp.Diff([]int{1000, 1000, 500}, sizes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(one.Changes, all); diff != "" {
		t.Error(diff)
	}
	if none, err := w.client.Diff(t.Context(), images.DiffIn{Name: "a", Other: new("a")}); err != nil || none.Changes == nil || len(none.Changes) > 0 {
		t.Errorf("Diff with itself = %+v, %v", none, err)
	}
	for _, err := range w.client.DiffStream(t.Context(), images.DiffIn{Name: "b"}) {
		if _, ok := errors.AsType[*images.ImageNotFoundError](err); !ok {
			t.Errorf("Diff of no image: %v", err)
		}
	}
}

func TestPruneAndDiskUsage(t *testing.T) {
	t.Parallel()
	w := serve(t)
	w.add(t, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"1"}})
	dangling := w.add(t, enginetest.Image{Layers: []string{"1", "2"}})
	usage, err := w.client.DiskUsage(t.Context(), images.DiskUsageIn{})
	if err != nil || len(usage.Images) != 2 || usage.Total <= 0 || usage.Reclaimable != usage.Total {
		t.Fatalf("DiskUsage = %+v, %v", usage, err)
	}
	unique := map[string]int64{}
	for _, u := range usage.Images {
		unique[u.ID] = u.Unique
	}
	_, err = w.client.Prune(t.Context(), images.PruneIn{Filters: []string{"color=red"}})
	if e, ok := errors.AsType[*varlink.InvalidParameterError](err); !ok || e.Parameter != "filters" {
		t.Errorf("Prune with a bad filter: %v", err)
	}
	got, err := w.client.Prune(t.Context(), images.PruneIn{})
	want := images.PruneOut{Removed: []images.Pruned{{ID: dangling, Names: []string{}, Size: unique[dangling]}}, Reclaimed: unique[dangling]}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	got, err = w.client.Prune(t.Context(), images.PruneIn{All: new(true)})
	if err != nil || len(got.Removed) != 1 || got.Removed[0].Names[0] != "localhost/a:latest" {
		t.Errorf("Prune of all = %+v, %v", got, err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	w := serve(t)
	id := w.add(t, enginetest.Image{Names: []string{"localhost/a:latest"}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watcher := images.NewClient(varlinktest.NewClient(t, w.server))
	n := 0
	for out, err := range watcher.WatchStream(ctx, images.WatchIn{Filters: []string{"event=tagged", "event=pulled"}}) {
		if err != nil {
			t.Fatal(err)
		}
		switch n++; n {
		case 1:
			if diff := cmp.Diff(images.WatchOut{Ready: new(true)}, out); diff != "" {
				t.Fatal(diff)
			}
			if _, err := w.client.Tag(ctx, images.TagIn{Name: "a", Tags: []string{"b"}}); err != nil {
				t.Fatal(err)
			}
		case 2:
			if out.Time == nil || out.Ready != nil {
				t.Errorf("%+v", out)
			}
			want := images.WatchOut{Event: images.EventKindTagged, ID: &id, Name: new("localhost/b:latest"), Time: out.Time}
			if diff := cmp.Diff(want, out); diff != "" {
				t.Error(diff)
			}
			w.add(t, enginetest.Image{Layers: []string{"foreign"}})
		case 3:
			if out.Event != images.EventKindPulled || out.ID == nil || out.Name != nil {
				t.Errorf("%+v", out)
			}
		}
		if n == 3 {
			break
		}
	}
}

func TestWatchRefuses(t *testing.T) {
	t.Parallel()
	w := serve(t)
	c := varlinktest.NewClient(t, w.server)
	err := c.Call(t.Context(), images.Interface+".Watch", nil, nil)
	if _, ok := errors.AsType[*varlink.ExpectedMoreError](err); !ok {
		t.Errorf("Watch without more: %v", err)
	}
	for _, err := range images.NewClient(c).WatchStream(t.Context(), images.WatchIn{Filters: []string{"event=born"}}) {
		if e, ok := errors.AsType[*varlink.InvalidParameterError](err); !ok || e.Parameter != "filters" {
			t.Errorf("Watch with a bad filter: %v", err)
		}
	}
}
