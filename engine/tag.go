package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/names"
)

// Tag gives references to an image. All are checked before the first is given; one that named another image moves.
// Errors: *errdefs.ImageNotFound, AmbiguousName, InvalidReference, InvalidParameter (tags) if there are none,
// ReadOnlyImage, LimitExceeded.
func (e *Engine) Tag(ctx context.Context, name string, tags []string) error {
	if len(tags) == 0 {
		return &errdefs.InvalidParameter{Parameter: "tags", Reason: "there is none"}
	}
	full, err := normalizeAll(tags, e.imageLimits.Tags, names.Tag)
	if err != nil {
		return err
	}
	return e.rename(ctx, name, func(img *index.Image) error {
		if err := e.store.AddNames(img.ID, full); err != nil {
			return err
		}
		for _, n := range full {
			e.events.Publish(events.Event{Kind: events.Tagged, ID: img.ID, Name: n})
		}
		return nil
	})
}

// Untag takes references away from an image, all of them if none is given. If one is not the image's, that is
// *errdefs.ImageNotFound and none is taken away. Other errors: AmbiguousName, InvalidReference, InvalidParameter (tags)
// for a tag without a name, ReadOnlyImage, LimitExceeded.
func (e *Engine) Untag(ctx context.Context, name string, tags []string) error {
	full, err := normalizeAll(tags, e.imageLimits.Tags, names.Normalize)
	if err != nil {
		return err
	}
	return e.rename(ctx, name, func(img *index.Image) error {
		for i, n := range full {
			if !slices.Contains(img.Names, n) {
				return &errdefs.ImageNotFound{Name: tags[i], Reason: "the image " + img.ID + " does not have this name"}
			}
		}
		if len(tags) == 0 {
			full = img.Names
		}
		if len(full) == 0 {
			return nil
		}
		if err := e.store.RemoveNames(img.ID, full); err != nil {
			return err
		}
		e.untagged(img.ID, full...)
		return nil
	})
}

// untagged says that an image has lost names, in the order in which a look at the store would tell it.
func (e *Engine) untagged(id string, names ...string) {
	for _, n := range slices.Sorted(slices.Values(names)) {
		e.events.Publish(events.Event{Kind: events.Untagged, ID: id, Name: n})
	}
}

// normalizeAll completes references that an image is to get or to lose.
func normalizeAll[N interface{ String() string }](tags []string, most int, normalize func(string) (N, error)) ([]string, error) {
	if err := checkLimit(LimitImageTags, len(tags), most); err != nil {
		return nil, err
	}
	full := make([]string, 0, len(tags))
	for _, tag := range tags {
		if names.IsTagOnly(tag) {
			return nil, &errdefs.InvalidParameter{Parameter: "tags", Reason: tag + " is a tag without a name"}
		}
		named, err := normalize(tag)
		if err != nil {
			return nil, err
		}
		full = append(full, named.String())
	}
	return full, nil
}

// rename changes the names of the image that a name means, for good.
func (e *Engine) rename(ctx context.Context, name string, change func(*index.Image) error) error {
	_, f, unlock, err := e.findLocked(ctx, name, e.lookup)
	if err != nil {
		return err
	}
	defer unlock()
	if f.img.ReadOnly {
		return &errdefs.ReadOnlyImage{Name: name}
	}
	if err := change(f.img); err != nil {
		return e.changeError(name, f.img, err)
	}
	return e.durable()
}

// findLocked looks a name up and locks the image it means. The snapshot is taken under the lock: nobody here changes
// the image after it.
func (e *Engine) findLocked(
	ctx context.Context, name string, lookup func(*index.Snapshot, string) (found, error),
) (*index.Snapshot, found, func(), error) {
	for {
		s, err := e.snapshot(ctx)
		if err != nil {
			return nil, found{}, nil, err
		}
		f, err := lookup(s, name)
		if err != nil {
			return nil, found{}, nil, err
		}
		unlock, err := e.lockImage(ctx, f.img.ID)
		if err != nil {
			return nil, found{}, nil, err
		}
		s, err = e.snapshot(ctx)
		if err != nil {
			unlock()
			return nil, found{}, nil, err
		}
		again, err := lookup(s, name)
		if err == nil && again.img.ID == f.img.ID {
			return s, again, unlock, nil
		}
		unlock()
		if err != nil {
			return nil, found{}, nil, err
		}
	}
}

// changeError turns an error of changing an image into one of errdefs.
func (e *Engine) changeError(name string, img *index.Image, err error) error {
	switch {
	case errors.Is(err, storage.ErrImageUnknown), errors.Is(err, storage.ErrNotAnImage):
		return &errdefs.ImageNotFound{Name: name, Reason: "the image was removed just now", Err: err}
	case errors.Is(err, storage.ErrStoreIsReadOnly), errors.Is(err, unix.EROFS):
		return &errdefs.ReadOnlyImage{Name: name, Err: err}
	}
	return e.localError("change image "+img.ID, err)
}
