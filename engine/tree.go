package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/names"
)

// Layer is a layer of the store.
type Layer struct {
	// ID is the layer's id.
	ID string
	// Parent is the id of the layer below it. Empty for a base layer.
	Parent string
	// Size is how many bytes it adds, uncompressed. Zero if it is not known, as of a container's own layer.
	Size int64
	// Images are the ids of the images whose topmost layer it is, newest first.
	Images []string
	// Names are the references of those images.
	Names []string
}

// TreeOptions say which layers of an image to show. The zero value: those that it is made of.
type TreeOptions struct {
	// WhatRequires shows the image's topmost layer and all that lies on it instead.
	WhatRequires bool
}

// Layers returns all layers of the store, containers' own among them, parents before children: each base layer is
// followed by what lies on it.
func (e *Engine) Layers(ctx context.Context) ([]Layer, error) {
	s, layers, err := e.layers(ctx)
	if err != nil {
		return nil, err
	}
	return newLayers(s, layers), nil
}

// Tree returns the layers that an image is made of, base first. Of a manifest list the image for this machine is taken.
// Errors: *errdefs.ImageNotFound, AmbiguousName, InvalidReference.
func (e *Engine) Tree(ctx context.Context, name string, opts TreeOptions) ([]Layer, error) {
	s, layers, err := e.layers(ctx)
	if err != nil {
		return nil, err
	}
	img, err := e.lookupImage(s, name)
	if err != nil {
		return nil, err
	}
	if opts.WhatRequires {
		return newLayers(s, above(layers, img.TopLayer)), nil
	}
	return newLayers(s, chain(layers, img)), nil
}

// layers returns the store's layers and images.
func (e *Engine) layers(ctx context.Context) (*index.Snapshot, []index.Layer, error) {
	s, layers, err := e.index.Layers(ctx)
	if err != nil {
		return nil, nil, e.localError("read store", err)
	}
	return s, layers, nil
}

// lookupImage finds the image that a name means. Of a manifest list that is the one for this machine.
func (e *Engine) lookupImage(s *index.Snapshot, name string) (*index.Image, error) {
	f, err := e.lookup(s, name)
	if err != nil || !f.img.Facts.List {
		return f.img, err
	}
	if img := instance(s, f.img, names.Host()); img != nil {
		return img, nil
	}
	return nil, &errdefs.ImageNotFound{
		Name: name, Reason: fmt.Sprintf("the store has no image for %s of this manifest list", names.Host()),
	}
}

// chain returns the layers of an image, base first.
func chain(layers []index.Layer, img *index.Image) []index.Layer {
	byID := make(map[string]index.Layer, len(layers))
	for _, l := range layers {
		byID[l.ID] = l
	}
	var found []index.Layer
	for _, id := range slices.Backward(img.LayerIDs()) {
		if l, ok := byID[id]; ok { // else it was removed just now
			found = append(found, l)
		}
	}
	return found
}

// above returns a layer and all that lies on it. Parents stand before their children.
func above(layers []index.Layer, id string) []index.Layer {
	inside := map[string]bool{}
	var found []index.Layer
	for _, l := range layers {
		if l.ID == id || inside[l.Parent] {
			inside[l.ID] = true
			found = append(found, l)
		}
	}
	return found
}

// newLayers makes the records of layers.
func newLayers(s *index.Snapshot, layers []index.Layer) []Layer {
	ending := map[string][]*index.Image{}
	for img := range s.Images() {
		if img.TopLayer != "" {
			ending[img.TopLayer] = append(ending[img.TopLayer], img)
		}
	}
	records := make([]Layer, 0, len(layers))
	for _, l := range layers {
		r := Layer{ID: l.ID, Parent: l.Parent, Size: l.Size}
		for _, img := range ending[l.ID] {
			r.Images = append(r.Images, img.ID)
			r.Names = append(r.Names, img.Names...)
		}
		records = append(records, r)
	}
	return records
}
