package service

import (
	"context"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
)

// changeBatch is how many changes one reply of a streamed Diff holds.
const changeBatch = 1000

// Tree gets the layers of an image.
func (s imagesService) Tree(ctx context.Context, in images.TreeIn) (images.TreeOut, error) {
	layers, err := s.engine.Tree(ctx, in.Name, engine.TreeOptions{WhatRequires: value(in.WhatRequires)})
	return images.TreeOut{Layers: layersOf(layers)}, failure(images.Interface, err)
}

// Layers gets the layers of the store.
func (s imagesService) Layers(ctx context.Context, _ images.LayersIn) (images.LayersOut, error) {
	layers, err := s.engine.Layers(ctx)
	return images.LayersOut{Layers: layersOf(layers)}, failure(images.Interface, err)
}

// Diff tells which paths of an image differ.
func (s imagesService) Diff(ctx context.Context, in images.DiffIn, send func(images.DiffOut) error) (images.DiffOut, error) {
	more := varlink.CallFrom(ctx).WantsMore()
	var out images.DiffOut
	for change, err := range s.engine.Diff(ctx, in.Name, engine.DiffOptions{Other: value(in.Other)}) {
		if err != nil {
			return out, failure(images.Interface, err)
		}
		if more && len(out.Changes) == changeBatch {
			if err := send(out); err != nil {
				return out, err
			}
			out.Changes = nil
		}
		out.Changes = append(out.Changes, images.Change{Path: change.Path, Kind: images.ChangeKind(change.Kind)})
	}
	return out, nil
}

func layersOf(layers []engine.Layer) []images.Layer {
	var out []images.Layer
	for _, l := range layers {
		out = append(out, images.Layer{ID: l.ID, Parent: optional(l.Parent), Size: l.Size, Images: l.Images, Names: l.Names})
	}
	return out
}
