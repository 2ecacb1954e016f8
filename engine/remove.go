package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/containers/storage"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/names"
)

// RemoveOptions say how to remove images. The zero value: only what nothing needs any more.
type RemoveOptions struct {
	// All is true to remove every image of the store itself; then no names are given.
	All bool
	// Force removes the containers made from an image with it, and an image with several names by its id.
	Force bool
	// Ignore is true if an unknown name is no error.
	Ignore bool
	// LookupManifest takes only manifest lists: a name of one means it, never an image that it names.
	LookupManifest bool
	// NoPrune keeps parents that nothing points to any more.
	NoPrune bool
}

// Removal is what was done for one name.
type Removal struct {
	// Name is the name as it was given; with All the image's id.
	Name string
	// ID is the image it meant. Empty if there was none.
	ID string
	// Untagged are the references that were taken away.
	Untagged []string
	// Deleted are the ids of the images that were deleted, parents after their children.
	Deleted []string
	// Err is why it stopped, as a call with this name alone would have ended; nil on success. What is in Untagged
	// and Deleted was done all the same.
	Err error
}

// Remove removes images. An image with other names loses only the one given. With one name its failure is also the
// call's; with several each result carries its own and the rest goes on. Errors: *errdefs.ImageNotFound,
// AmbiguousName, InvalidReference, ImageInUse, ReadOnlyImage, LimitExceeded, InvalidParameter (names) if there are
// none without All, or some with it.
func (e *Engine) Remove(ctx context.Context, given []string, opts RemoveOptions) ([]Removal, error) {
	if err := checkLimit(LimitNames, len(given), e.imageLimits.Names); err != nil {
		return nil, err
	}
	if opts.All != (len(given) == 0) {
		return nil, &errdefs.InvalidParameter{Parameter: "names", Reason: "there must be some, or all must be true, not both"}
	}
	single := len(given) == 1
	if opts.All {
		var err error
		if given, err = e.removable(ctx); err != nil {
			return nil, err
		}
	}
	results := make([]Removal, 0, len(given))
	changed := false
	for _, name := range given {
		r := Removal{Name: name}
		r.Err = e.removeOne(ctx, &r, opts)
		changed = changed || len(r.Untagged)+len(r.Deleted) > 0
		results = append(results, r)
	}
	if changed {
		if err := e.durable(); err != nil {
			return results, err
		}
	}
	if single {
		return results, results[0].Err
	}
	return results, nil
}

// removable returns the ids of all images that can be removed at all.
func (e *Engine) removable(ctx context.Context) ([]string, error) {
	s, err := e.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for img := range s.Images() {
		if !img.ReadOnly {
			ids = append(ids, img.ID)
		}
	}
	return ids, nil
}

// removeOne removes what r.Name means and writes into r what it did.
func (e *Engine) removeOne(ctx context.Context, r *Removal, opts RemoveOptions) error {
	parent, err := e.removeNamed(ctx, r, opts)
	if _, missing := errors.AsType[*errdefs.ImageNotFound](err); missing && (opts.Ignore || opts.All) {
		return nil
	}
	for err == nil && parent != "" && !opts.NoPrune {
		parent, err = e.prune(ctx, r, parent)
	}
	return err
}

// removeNamed takes the name away, and the image if it was the last. It returns the id of a deleted image's parent.
func (e *Engine) removeNamed(ctx context.Context, r *Removal, opts RemoveOptions) (parent string, err error) {
	_, f, unlock, err := e.findLocked(ctx, r.Name, func(s *index.Snapshot, name string) (found, error) {
		return e.lookupRemoval(s, name, opts)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	img := f.img
	r.ID = img.ID
	switch {
	case img.ReadOnly:
		return "", &errdefs.ReadOnlyImage{Name: r.Name}
	case f.name != "" && len(img.Names) > 1:
		if err := e.store.RemoveNames(img.ID, []string{f.name}); err != nil {
			return "", e.changeError(r.Name, img, err)
		}
		e.untagged(img.ID, f.name)
		r.Untagged = append(r.Untagged, f.name)
		return "", nil
	case f.name == "" && len(img.Names) > 1 && !opts.Force && !opts.All:
		return "", &errdefs.ImageInUse{Name: r.Name, Names: img.Names}
	case len(img.Containers) > 0 && !opts.Force:
		return "", &errdefs.ImageInUse{Name: r.Name, Containers: img.Containers}
	}
	if err := e.removeContainers(img); err != nil {
		return "", err
	}
	return e.delete(ctx, r, img)
}

// lookupRemoval finds what a removal means. The name of a manifest list means the list only on request; otherwise it
// means the image for this machine, or the list if the store has none.
func (e *Engine) lookupRemoval(s *index.Snapshot, name string, opts RemoveOptions) (found, error) {
	f, err := e.lookup(s, name)
	switch {
	case err != nil:
		return found{}, err
	case opts.LookupManifest && !f.img.Facts.List:
		return found{}, &errdefs.ImageNotFound{Name: name, Reason: "it names an image, not a manifest list"}
	case opts.LookupManifest || opts.All || f.name == "" || !f.img.Facts.List:
		return f, nil
	}
	if img := instance(s, f.img, names.Host()); img != nil {
		return found{img: img}, nil
	}
	return f, nil
}

// removeContainers deletes the containers made from an image, whichever tool made them.
func (e *Engine) removeContainers(img *index.Image) error {
	for _, id := range img.Containers {
		if err := e.store.DeleteContainer(id); err != nil && !errors.Is(err, storage.ErrContainerUnknown) {
			return e.localError("remove container "+id, err)
		}
	}
	return nil
}

// delete deletes a locked image and its layers that no other image has.
func (e *Engine) delete(ctx context.Context, r *Removal, img *index.Image) (parent string, err error) {
	_, err = e.deleteImage(img)
	if errors.Is(err, storage.ErrImageUsedByContainer) {
		return "", e.usedMeanwhile(ctx, r.Name, img.ID, err)
	}
	if err != nil {
		return "", e.changeError(r.Name, img, err)
	}
	r.Untagged = append(r.Untagged, img.Names...)
	r.Deleted = append(r.Deleted, img.ID)
	if img.Parent != nil {
		parent = img.Parent.ID
	}
	return parent, nil
}

// deleteImage deletes a locked image from the store, says so, and returns the ids of the layers that went with it. The
// error is the library's.
func (e *Engine) deleteImage(img *index.Image) (layers []string, err error) {
	if layers, err = e.store.DeleteImage(img.ID, true); err != nil {
		return nil, err
	}
	e.untagged(img.ID, img.Names...)
	e.events.Publish(events.Event{Kind: events.Removed, ID: img.ID})
	return layers, nil
}

// usedMeanwhile makes the error of an image that another program made a container of just now.
func (e *Engine) usedMeanwhile(ctx context.Context, name, id string, err error) error {
	s, serr := e.snapshot(ctx)
	if serr != nil {
		return serr
	}
	if img := s.ByID(id); img != nil && len(img.Containers) > 0 {
		return &errdefs.ImageInUse{Name: name, Containers: img.Containers}
	}
	return e.localError("remove image "+id, err)
}

// prune deletes the parent of a deleted image if nothing points to it any more. It returns that one's parent.
func (e *Engine) prune(ctx context.Context, r *Removal, id string) (parent string, err error) {
	unlock, err := e.lockImage(ctx, id)
	if err != nil {
		return "", err
	}
	defer unlock()
	s, err := e.snapshot(ctx)
	if err != nil {
		return "", err
	}
	img := s.ByID(id)
	if img == nil || img.ReadOnly || !img.Dangling() || len(img.Containers) > 0 || slices.Contains(r.Deleted, id) {
		return "", nil
	}
	return e.delete(ctx, r, img)
}
