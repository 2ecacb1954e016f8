package index

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// Layer is a layer as its record has it.
type Layer struct {
	// ID is the layer's id.
	ID string
	// Parent is the id of the layer below it. Empty for a base layer.
	Parent string
	// Size is how many bytes it adds, uncompressed. Zero if it is not known, as of a container's own layer.
	Size int64
	// Folder is where the store keeps the layer's record and what belongs to it.
	Folder string
}

// Layers returns all layers of the store, containers' own among them, parents before children, and a snapshot that is
// no newer: its images' layers are there unless they were removed just now. Neither is changed by anybody.
func (x *Index) Layers(ctx context.Context) (*Snapshot, []Layer, error) {
	s, err := x.Snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	var changed bool
	if err := x.refreshLayers(&changed); err != nil {
		return nil, nil, err
	}
	if changed {
		x.current = nil // it may know too little of the layers
	}
	return s, x.sortLayers(), nil
}

// sortLayers returns the layers read last: each base layer with all that lies on it, those of one parent as old as they come.
func (x *Index) sortLayers() []Layer {
	children := make(map[string][]Layer)
	seen := make(map[string]bool, len(x.known))
	for _, t := range x.layers {
		for _, r := range t.records {
			if seen[r.ID] {
				continue // the same layer in an additional store
			}
			seen[r.ID] = true
			parent := r.Parent
			if _, ok := x.known[parent]; !ok {
				parent = "" // of a broken store: it is shown all the same
			}
			children[parent] = append(children[parent], Layer{
				ID: r.ID, Parent: r.Parent, Size: max(r.Size, 0), Folder: filepath.Dir(t.path),
			})
		}
	}
	sorted := make([]Layer, 0, len(seen))
	var add func(parent string)
	add = func(parent string) {
		for _, l := range children[parent] {
			sorted = append(sorted, l)
			add(l.ID)
		}
	}
	add("")
	return sorted
}

// LayerIDs returns the ids of the image's layers, topmost first.
func (img *Image) LayerIDs() []string {
	ids := make([]string, 0, len(img.layers))
	for _, l := range img.layers {
		ids = append(ids, l.ID)
	}
	return ids
}

// Stored returns when the image's data was last written, which is about when it came into the store. Zero if the image
// is gone.
func (img *Image) Stored() time.Time {
	info, err := os.Stat(img.folder)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
