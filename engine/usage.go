package engine

import (
	"context"

	"github.com/imaged-project/imaged/engine/index"
)

// Usage is the space that one image takes.
type Usage struct {
	// ID is the image's id.
	ID string
	// Names are its references.
	Names []string
	// Size is how many bytes its layers and its metadata have.
	Size int64
	// Shared is how many of them are of layers that other images use, too.
	Shared int64
	// Unique is how many only this image has: Size without Shared.
	Unique int64
	// Containers is how many containers were made from it.
	Containers int
}

// DiskUsage is the space that all images take.
type DiskUsage struct {
	// Images are the images, newest first.
	Images []Usage
	// Total is how many bytes they have together, layers of several images counted once.
	Total int64
	// Reclaimable is how many of these would come free if every image without a container were removed. Images of
	// additional stores stay.
	Reclaimable int64
}

// DiskUsage tells how much space images take, as they were at one moment: it does not matter if one goes meanwhile.
func (e *Engine) DiskUsage(ctx context.Context) (DiskUsage, error) {
	s, err := e.snapshot(ctx)
	if err != nil {
		return DiskUsage{}, err
	}
	var u DiskUsage
	all, kept := layerSet{}, layerSet{}
	for img := range s.Images() {
		u.Images = append(u.Images, Usage{
			ID: img.ID, Names: img.Names, Size: img.Size, Shared: img.SharedSize, Unique: img.Size - img.SharedSize,
			Containers: len(img.Containers),
		})
		u.Total += all.add(img)
		if img.ReadOnly || len(img.Containers) > 0 {
			u.Reclaimable -= kept.add(img)
		}
	}
	u.Reclaimable += u.Total
	return u, nil
}

// layerSet are ids of layers.
type layerSet map[string]bool

// add adds an image's layers and returns the bytes of those that are new, and of the image's metadata.
func (s layerSet) add(img *index.Image) int64 {
	bytes, sizes := img.Size, img.LayerSizes()
	for i, id := range img.LayerIDs() {
		if s[id] {
			bytes -= sizes[i]
		}
		s[id] = true
	}
	return bytes
}
