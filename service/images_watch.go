package service

import (
	"context"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// Watch tells what happens to images until the client leaves.
func (s imagesService) Watch(ctx context.Context, in images.WatchIn, send func(images.WatchOut) error) (images.WatchOut, error) {
	watch, err := s.engine.Watch(ctx, engine.WatchOptions{Filters: in.Filters})
	if err != nil {
		return images.WatchOut{}, failure(images.Interface, err)
	}
	defer watch.Close()
	if err := send(images.WatchOut{Ready: new(true)}); err != nil {
		return images.WatchOut{}, err
	}
	for event, err := range watch.Events(ctx) {
		if err != nil {
			return images.WatchOut{}, failure(images.Interface, err)
		}
		if err := send(eventOf(event)); err != nil {
			return images.WatchOut{}, err
		}
	}
	return images.WatchOut{}, nil
}

func eventOf(e events.Event) images.WatchOut {
	out := images.WatchOut{
		Event: images.EventKind(e.Kind), ID: optional(e.ID), Name: optional(e.Name), Time: new(stamp(e.Time)),
	}
	if e.Err != nil {
		out.Error, out.Reason = new(errorName(transfers.Interface+".Pull", e.Err)), new(message(e.Err))
	}
	return out
}
