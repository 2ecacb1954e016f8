package engine

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/names"
)

// ListOptions say which images to list. The zero value: all but intermediate ones.
type ListOptions struct {
	// All is true to list intermediate images, too, as a filter that asks for them does.
	All bool
	// Filters are conditions as podman's --filter takes them, key=value or key!=value. filterKeys has the keys.
	// Of one key's conditions with = one must hold; all with != must.
	Filters []string
}

// List lists images, newest first. It yields the image or, as the last thing, an error: *errdefs.InvalidParameter for
// a filter that makes no sense.
func (e *Engine) List(ctx context.Context, opts ListOptions) iter.Seq2[Image, error] {
	return func(yield func(Image, error) bool) {
		if err := checkLimit(LimitFilters, len(opts.Filters), e.imageLimits.Filters); err != nil {
			yield(Image{}, err)
			return
		}
		s, err := e.snapshot(ctx)
		if err != nil {
			yield(Image{}, err)
			return
		}
		keep, err := e.compileFilters(s, opts.Filters)
		if err != nil {
			yield(Image{}, err)
			return
		}
		all := opts.All || slices.ContainsFunc(opts.Filters, asksForIntermediate)
		for img := range s.Images() {
			if !all && img.Intermediate() || !keep(img) {
				continue
			}
			if !yield(newImage(img), nil) {
				return
			}
		}
	}
}

// Get returns the image that a name means. Errors: *errdefs.ImageNotFound, AmbiguousName, InvalidReference.
func (e *Engine) Get(ctx context.Context, name string) (Image, error) {
	_, f, err := e.find(ctx, name)
	if err != nil {
		return Image{}, err
	}
	return newImage(f.img), nil
}

// Exists tells whether a name means an image of the store. Errors: *errdefs.AmbiguousName, InvalidReference.
func (e *Engine) Exists(ctx context.Context, name string) (bool, error) {
	_, _, err := e.find(ctx, name)
	if _, ok := errors.AsType[*errdefs.ImageNotFound](err); ok {
		return false, nil
	}
	return err == nil, err
}

// Resolution tells what a name stands for when it is pulled.
type Resolution struct {
	// References are the full references, in the order in which they are tried. Never empty.
	References []string
	// Reason says why: the alias, the search registries, or that the name is full already, and which file says so.
	Reason string
}

// Resolve tells which full references a name stands for when it is pulled. Error: *errdefs.InvalidReference, also
// for a short name that nothing explains.
func (e *Engine) Resolve(ctx context.Context, name string) (Resolution, error) {
	if ctx.Err() != nil {
		return Resolution{}, cancelled(ctx)
	}
	if _, err := e.hosts.SearchRegistries(); err != nil {
		return Resolution{}, e.localError("resolve "+name, err)
	}
	candidates, reason, err := names.Remote(e.systemContext(), name)
	if err != nil {
		return Resolution{}, err
	}
	r := Resolution{Reason: reason}
	for _, c := range candidates {
		r.References = append(r.References, c.Value.String())
	}
	return r, nil
}

// vanished turns an error of reading an image's data into ImageNotFound if the image was removed meanwhile.
func (e *Engine) vanished(ctx context.Context, name string, img *index.Image, err error) error {
	if s, serr := e.index.Snapshot(ctx); serr == nil && s.ByID(img.ID) == nil {
		return &errdefs.ImageNotFound{Name: name, Reason: "the image was removed just now", Err: err}
	}
	return e.localError("read image "+img.ID, err)
}
