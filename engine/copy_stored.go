package engine

import (
	"context"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine/direct"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/index"
)

// openStored finds an image of the store, or with All a manifest list with its images, and keeps others from removing what
// it found.
func (c *copier) openStored(ctx context.Context) (types.ImageReference, func() error, error) {
	s, f, err := c.e.find(ctx, c.from.name)
	if err != nil {
		return nil, nil, err
	}
	images := []*index.Image{f.img}
	if c.options.All {
		for _, in := range f.img.Facts.Instances {
			one := instanceImage(s, in.Digest)
			if one == nil {
				return nil, nil, &errdefs.ImageNotFound{Name: c.from.name, Reason: "the store does not have the list's image " + in.Digest}
			}
			images = append(images, one)
		}
	} else if images[0], err = c.e.lookupImage(s, c.from.name); err != nil {
		return nil, nil, err
	}
	unlock, err := c.e.holdImages(ctx, c.from.name, images)
	if err != nil {
		unlock()
		return nil, nil, err
	}
	ref, err := c.storedReference(s, images[0])
	if err != nil {
		unlock()
		return nil, nil, c.e.localError("open image "+images[0].ID, err)
	}
	return localReference{ref, c.e}, func() error { unlock(); return nil }, nil
}

// storedReference makes a reference to an image, or to a list whose images are in the store.
func (c *copier) storedReference(s *index.Snapshot, img *index.Image) (types.ImageReference, error) {
	if !img.Facts.List {
		return direct.Image(c.e.store, img.ID, noMeter{}, nil)
	}
	return direct.List(c.e.store, img.ID, func(d digest.Digest) (types.ImageReference, error) {
		one := instanceImage(s, d.String())
		if one == nil {
			return nil, &errdefs.ImageNotFound{Name: c.from.name, Reason: "the store does not have the list's image " + d.String()}
		}
		return direct.Image(c.e.store, one.ID, noMeter{}, nil)
	})
}
