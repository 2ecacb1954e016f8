package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/layerdiff"
)

// ChangeKind is what happened to a path.
type ChangeKind = layerdiff.Kind

// What happened to a path.
const (
	// PathAdded is one that was not there before.
	PathAdded = layerdiff.Added
	// PathChanged is one that was something else before, or a folder with changes in it.
	PathChanged = layerdiff.Changed
	// PathDeleted is one that is gone; of a folder nothing in it is told.
	PathDeleted = layerdiff.Deleted
)

// Change is one changed path of an image.
type Change struct {
	// Path is absolute. What is no UTF-8 in it is replaced.
	Path string
	// Kind is what happened to it.
	Kind ChangeKind
}

// DiffOptions say what to compare an image with. The zero value: with what its topmost layer lies on.
type DiffOptions struct {
	// Other is the name of another image. Empty: the image without its topmost layer.
	Other string
}

// Diff yields which paths of an image are otherwise than below its topmost layer, or than in another image, sorted by
// path; or, as the last thing, an error: *errdefs.ImageNotFound, AmbiguousName, InvalidReference, LimitExceeded. Of
// manifest lists the images for this machine are taken.
//
// It reads only what the store keeps of layers' headers: no layer is mounted and no lock of the store is held. Where
// that was not kept, the layer is exported. The images cannot be removed here until they are read.
func (e *Engine) Diff(ctx context.Context, name string, opts DiffOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		leave, err := e.diffs.enter(e.imageLimits.Diffs)
		if err != nil {
			yield(Change{}, err)
			return
		}
		defer leave()
		compared, err := e.compare(ctx, name, opts)
		if err != nil {
			yield(Change{}, err)
			return
		}
		for c := range compared.Changes() {
			if ctx.Err() != nil {
				yield(Change{}, cancelled(ctx))
				return
			}
			if !yield(Change{Path: strings.ToValidUTF8(c.Path, "\uFFFD"), Kind: c.Kind}, nil) {
				return
			}
		}
	}
}

// compare reads what is compared.
func (e *Engine) compare(ctx context.Context, name string, opts DiffOptions) (*layerdiff.Comparison, error) {
	s, layers, err := e.layers(ctx)
	if err != nil {
		return nil, err
	}
	img, err := e.lookupImage(s, name)
	if err != nil {
		return nil, err
	}
	after := chain(layers, img)
	before := after[:max(0, len(after)-1)]
	var other *index.Image
	if opts.Other != "" {
		if other, err = e.lookupImage(s, opts.Other); err != nil {
			return nil, err
		}
		before = chain(layers, other)
	}
	common := 0
	for common < min(len(after), len(before)) && after[common].ID == before[common].ID {
		common++
	}
	c := layerdiff.New(e.imageLimits.DiffBytes)
	// One image after the other: nobody holds two locks here.
	err = e.readLayers(ctx, name, img, func(l index.Layer, i int) error {
		if i < common {
			return e.addLayer(ctx, c, layerdiff.Both, l)
		}
		return e.addLayer(ctx, c, layerdiff.After, l)
	}, after)
	if err == nil && other != nil {
		err = e.readLayers(ctx, opts.Other, other, func(l index.Layer, _ int) error {
			return e.addLayer(ctx, c, layerdiff.Before, l)
		}, before[common:])
	}
	return c, err
}

// readLayers reads layers of an image, base first. The image cannot be removed here meanwhile.
func (e *Engine) readLayers(
	ctx context.Context, name string, img *index.Image, read func(index.Layer, int) error, layers []index.Layer,
) error {
	unlock, err := e.rlockImage(ctx, img.ID)
	if err != nil {
		return err
	}
	defer unlock()
	for i := 0; i < len(layers) && err == nil; i++ {
		err = read(layers[i], i)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return cancelled(ctx)
	case errors.Is(err, layerdiff.ErrTooLarge):
		return &errdefs.LimitExceeded{Limit: LimitDiffBytes, Value: e.imageLimits.DiffBytes}
	}
	return e.vanished(ctx, name, img, err)
}

// addLayer puts a layer on top of a side.
func (e *Engine) addLayer(ctx context.Context, c *layerdiff.Comparison, sides layerdiff.Side, l index.Layer) error {
	err := c.ReadSplit(ctx, sides, filepath.Join(l.Folder, l.ID+".tar-split.gz"))
	if errors.Is(err, fs.ErrNotExist) {
		return e.exportLayer(l.ID, func(r io.Reader) error { return c.ReadTar(ctx, sides, r) })
	}
	return err
}

// exportLayer has the library make a layer's tar, under its locks.
func (e *Engine) exportLayer(id string, use func(io.Reader) error) (err error) {
	r, err := e.store.Diff("", id, &storage.DiffOptions{Compression: new(archive.Uncompressed)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return use(r)
}
