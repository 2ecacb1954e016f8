package engine

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containers/storage"

	"github.com/imaged-project/imaged/engine/index"
)

// PruneOptions say what to remove. The zero value: dangling images.
type PruneOptions struct {
	// All removes every image that no container uses.
	All bool
	// External takes images for unused whose containers were all left by builds, and removes those containers with
	// them: containers that buildah made, that podman does not know, and that are not mounted.
	External bool
	// BuildCache removes what builds keep in cache mounts, too.
	BuildCache bool
	// Filters leave images out, as List's do. With dangling, images need not be dangling otherwise. all=true is the same as
	// All.
	Filters []string
}

// Pruned is a removed image.
type Pruned struct {
	// ID is its id.
	ID string
	// Names are the references it had.
	Names []string
	// Size is how many bytes came free with it: of its metadata and of layers that no other image had.
	Size int64
}

// Pruning is what was removed.
type Pruning struct {
	// Removed are the images, in the order in which they went.
	Removed []Pruned
	// Reclaimed is how many bytes came free in all, the build cache among them.
	Reclaimed int64
}

// Prune removes images that nothing uses, and what then is not used any more, until there is nothing left to remove.
// An image that gets a name or a container meanwhile stays. After an error, what is returned was removed all the
// same. Errors: *errdefs.InvalidParameter (filters), LimitExceeded.
func (e *Engine) Prune(ctx context.Context, opts PruneOptions) (Pruning, error) {
	p := pruner{e: e, opts: opts}
	if err := p.compile(ctx); err != nil {
		return Pruning{}, err
	}
	err := p.run(ctx)
	if err == nil && opts.BuildCache {
		var freed int64
		freed, err = e.pruneBuildCache()
		p.done.Reclaimed += freed
	}
	return p.done, errors.Join(err, e.durable())
}

// pruner is the work of one call.
type pruner struct {
	e    *Engine
	opts PruneOptions
	keep condition // false: the filters leave it out
	any  bool      // not only dangling images
	done Pruning
}

// compile reads the filters.
func (p *pruner) compile(ctx context.Context) error {
	if err := checkLimit(LimitFilters, len(p.opts.Filters), p.e.imageLimits.Filters); err != nil {
		return err
	}
	s, err := p.e.snapshot(ctx)
	if err != nil {
		return err
	}
	var filters []string
	for _, f := range p.opts.Filters {
		key, value, _ := strings.Cut(f, "=")
		switch key = strings.TrimSuffix(key, "!"); {
		case strings.HasPrefix(f, "all="):
			all, err := strconv.ParseBool(value)
			if err != nil {
				return badFilter(f, "the value must be true or false")
			}
			p.opts.All = p.opts.All || all
			continue
		case key == "dangling":
			p.any = true
		}
		filters = append(filters, f)
	}
	p.any = p.any || p.opts.All
	p.keep, err = p.e.compileFilters(s, filters)
	return err
}

// run removes images until a round finds no more: a parent dangles only when its children are gone.
func (p *pruner) run(ctx context.Context) error {
	for {
		s, err := p.e.snapshot(ctx)
		if err != nil {
			return err
		}
		before := len(p.done.Removed)
		for img := range s.Images() {
			if unused, err := p.unused(img); err != nil || !unused {
				if err != nil {
					return err
				}
				continue
			}
			if err := p.remove(ctx, img); err != nil {
				return err
			}
		}
		if len(p.done.Removed) == before {
			return nil
		}
	}
}

// unused tells whether an image is to go.
func (p *pruner) unused(img *index.Image) (bool, error) {
	switch {
	case img.ReadOnly, !p.any && !img.Dangling(), !p.keep(img):
		return false, nil
	case len(img.Containers) == 0:
		return true, nil
	case !p.opts.External:
		return false, nil
	}
	for _, id := range img.Containers {
		if left, err := p.e.leftByBuild(id); err != nil || !left {
			return false, err
		}
	}
	return true, nil
}

// remove removes an image if it still is to go.
func (p *pruner) remove(ctx context.Context, img *index.Image) error {
	if err := p.ripen(ctx, img); err != nil {
		return err
	}
	unlock, err := p.e.lockImage(ctx, img.ID)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := p.e.snapshot(ctx)
	if err != nil {
		return err
	}
	id := img.ID
	img = s.ByID(id)
	if img == nil {
		return nil
	}
	if unused, err := p.unused(img); err != nil || !unused {
		return err
	}
	if err := p.e.removeContainers(img); err != nil {
		return err
	}
	layers, err := p.e.deleteImage(img)
	switch {
	case errors.Is(err, storage.ErrImageUsedByContainer), errors.Is(err, storage.ErrImageUnknown), errors.Is(err, storage.ErrNotAnImage):
		return nil // somebody was faster
	case err != nil:
		return p.e.localError("remove image "+id, err)
	}
	r := Pruned{ID: id, Names: img.Names, Size: freed(img, layers)}
	p.done.Removed = append(p.done.Removed, r)
	p.done.Reclaimed += r.Size
	return nil
}

// ripe is how long an image must have been in the store: whoever brings one in stores it first, then names it.
const ripe = time.Second

// ripen waits until an image has been in the store for long enough.
func (p *pruner) ripen(ctx context.Context, img *index.Image) error {
	wait := ripe - time.Since(img.Stored())
	if len(img.Names) > 0 || wait <= 0 {
		return nil
	}
	timer := time.NewTimer(min(wait, ripe))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return cancelled(ctx)
	}
}

// freed returns how many bytes came free with an image, of whose layers these are gone.
func freed(img *index.Image, layers []string) int64 {
	bytes, sizes := img.Size, img.LayerSizes()
	for i, id := range img.LayerIDs() {
		if !slices.Contains(layers, id) {
			bytes -= sizes[i]
		}
	}
	return bytes
}
