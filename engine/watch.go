package engine

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"

	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/names"
)

// WatchOptions say what to watch. The zero value: everything that happens to any image.
type WatchOptions struct {
	// Filters are conditions as List has them, with the keys event, whose value is a kind, and image, whose value is
	// a name or the beginning of an id.
	Filters []string
}

// Watch is what happens to images, as it happens. Close may be called from any goroutine, Events from one at a time.
type Watch struct {
	subscription *events.Subscription
	wanted       func(events.Event) bool
}

// Watch begins to watch images: what happens after it has returned is not missed. The caller closes the watch. What
// other programs do in the store is seen, too; an image that they bring in is taken for pulled. Errors:
// *errdefs.InvalidParameter (filters), LimitExceeded.
func (e *Engine) Watch(ctx context.Context, opts WatchOptions) (*Watch, error) {
	if err := checkLimit(LimitFilters, len(opts.Filters), e.imageLimits.Filters); err != nil {
		return nil, err
	}
	s, err := e.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	wanted, err := e.compileEvents(s, opts.Filters)
	if err != nil {
		return nil, err
	}
	subscription, err := e.events.Subscribe(ctx)
	if err != nil {
		return nil, e.localError("watch store", err)
	}
	return &Watch{subscription, wanted}, nil
}

// Events yields what happens. It ends with an error: *errdefs.Cancelled once the context has ended, LimitExceeded if
// this caller was so slow that something was lost.
func (w *Watch) Events(ctx context.Context) iter.Seq2[events.Event, error] {
	return func(yield func(events.Event, error) bool) {
		for event, err := range w.subscription.Events(ctx) {
			if (err != nil || w.wanted(event)) && !yield(event, err) {
				return
			}
		}
	}
}

// Close ends the watch. Calling it again does nothing.
func (w *Watch) Close() { w.subscription.Close() }

// newEvents makes the hub of the engine's events.
func (e *Engine) newEvents() (*events.Hub, error) {
	places, err := index.Places(e.store)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, p := range places {
		folders = append(folders, p.Images)
	}
	return events.NewHub(events.Options{
		MaxSubscribers: e.imageLimits.Watchers, MaxQueue: e.imageLimits.WatchQueue, State: e.imageNames,
		Notify: func(changed func()) (func(), error) {
			stop, err := watchFolders(folders, changed)
			if err != nil {
				e.log.WithError(err).Warn("changes that other programs make to images are seen late")
			}
			return stop, err
		},
	}), nil
}

// imageNames returns the names of all images.
func (e *Engine) imageNames(ctx context.Context) (events.State, error) {
	s, err := e.index.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	state := make(events.State, s.Len())
	for img := range s.Images() {
		state[img.ID] = img.Names
	}
	return state, nil
}

// compileEvents makes one condition of all filters of a watch.
func (e *Engine) compileEvents(s *index.Snapshot, filters []string) (func(events.Event) bool, error) {
	alternatives := map[string][]func(events.Event) bool{}
	var unwanted []func(events.Event) bool
	for _, f := range filters {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, badFilter(f, "it must be key=value or key!=value")
		}
		key, negated := strings.CutSuffix(key, "!")
		is, err := e.compileEvent(s, key, value)
		if err != nil {
			return nil, badFilter(f, err.Error())
		}
		if negated {
			unwanted = append(unwanted, is)
		} else {
			alternatives[key] = append(alternatives[key], is)
		}
	}
	return func(event events.Event) bool {
		wanted := true // every condition sees every event: one may learn from it
		for _, or := range alternatives {
			any := false
			for _, is := range or {
				any = is(event) || any
			}
			wanted = wanted && any
		}
		for _, is := range unwanted {
			wanted = !is(event) && wanted
		}
		return wanted
	}, nil
}

func (e *Engine) compileEvent(s *index.Snapshot, key, value string) (func(events.Event) bool, error) {
	switch key {
	case "event":
		if !slices.Contains(events.Kinds, events.Kind(value)) {
			return nil, fmt.Errorf("the value must be one of %v", events.Kinds)
		}
		return func(event events.Event) bool { return event.Kind == events.Kind(value) }, nil
	case "image":
		return e.eventsOf(s, value)
	}
	return nil, fmt.Errorf("there is no such key")
}

// eventsOf takes the events of what a name meant when the watch began, of images whose ids begin with it, and of what had
// or got that name since: it may be a name of an image that is still to come.
func (e *Engine) eventsOf(s *index.Snapshot, value string) (func(events.Event) bool, error) {
	q, err := names.ParseQuery(value)
	if err != nil {
		return nil, err
	}
	called := map[string]bool{} // ids of images that have, or had, the name
	if f, err := e.lookup(s, value); err == nil {
		called[f.img.ID] = true
	}
	return func(event events.Event) bool {
		hit := called[event.ID] || event.ID != "" && (event.ID == q.ID || q.IDPrefix != "" && strings.HasPrefix(event.ID, q.IDPrefix))
		if !hit && event.Name != "" && q.Named != nil && means(q, event.Name) {
			called[event.ID], hit = true, true
		}
		if event.Kind == events.Removed {
			delete(called, event.ID)
		}
		return hit
	}, nil
}

// means tells whether a query could mean an image of this name.
func means(q names.Query, name string) bool {
	if q.Short {
		return names.MatchesRepository(name, q.Named)
	}
	return name == reference.TagNameOnly(q.Named).String()
}
