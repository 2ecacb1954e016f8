package events

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// settle is how long after a change the store is looked at: other programs make an image first, then name it.
	settle = 50 * time.Millisecond
	// interval is how often the store is looked at if nobody tells of a change.
	interval = 2 * time.Second
	// patience is how long a new image may be one of an operation that did not say so yet.
	patience = 5 * time.Second
	// attempts is how often a look at the store is repeated because something was published meanwhile.
	attempts = 5
)

// start begins to watch the store.
func (h *Hub) start(ctx context.Context) error {
	unnotify, err := h.options.Notify(h.look)
	if err != nil {
		unnotify = func() {} // looking every now and then finds out, too
	}
	known, err := h.options.State(ctx)
	if err != nil {
		unnotify()
		return err
	}
	h.mu.Lock()
	h.known, h.held = copyOf(known), make(map[string]time.Time)
	h.mu.Unlock()
	watching, cancel := context.WithCancel(context.Background())
	var runner sync.WaitGroup
	runner.Go(func() { h.watch(watching) })
	h.stop = func() {
		unnotify()
		cancel()
		runner.Wait()
		h.mu.Lock()
		h.known, h.held = nil, nil
		h.mu.Unlock()
	}
	return nil
}

// watch looks at the store whenever it may have changed.
func (h *Hub) watch(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			h.reconcile(ctx)
		case <-h.wake:
			timer := time.NewTimer(settle)
			select {
			case <-timer.C:
				h.reconcile(ctx)
			case <-ctx.Done():
				timer.Stop()
			}
		}
	}
}

// reconcile looks at the store and tells what is otherwise. What was published while it was read may be missing in what was read:
// then it is read anew.
func (h *Hub) reconcile(ctx context.Context) {
	for range attempts {
		h.mu.Lock()
		before := h.published
		h.mu.Unlock()
		now, err := h.options.State(ctx)
		if err != nil {
			return // next time
		}
		h.mu.Lock()
		fresh := h.published == before
		if fresh {
			h.lost(now)
			h.found(now)
		}
		h.mu.Unlock()
		if fresh {
			return
		}
	}
	h.look()
}

// lost tells which images and names are gone. The mutex is held.
func (h *Hub) lost(now State) {
	for _, id := range slices.Sorted(maps.Keys(h.known)) {
		names, there := now[id]
		for _, name := range slices.Sorted(slices.Values(h.known[id])) {
			if !slices.Contains(names, name) {
				h.tell(Event{Kind: Untagged, ID: id, Name: name})
			}
		}
		if !there {
			h.tell(Event{Kind: Removed, ID: id})
		}
	}
	maps.DeleteFunc(h.held, func(id string, _ time.Time) bool { return !has(now, id) })
}

// found tells which images and names are new. The mutex is held.
func (h *Hub) found(now State) {
	for _, id := range slices.Sorted(maps.Keys(now)) {
		names := now[id]
		if !has(h.known, id) {
			if h.hold(id) {
				continue
			}
			e := Event{Kind: Pulled, ID: id}
			if len(names) > 0 {
				e.Name = names[0]
			}
			h.tell(e)
		}
		for _, name := range names {
			h.tell(Event{Kind: Tagged, ID: id, Name: name})
		}
	}
}

// hold tells whether a new image is left for an operation of this process to publish.
func (h *Hub) hold(id string) bool {
	for o := range h.operations {
		if _, ok := o.made[id]; ok {
			return true
		}
	}
	if len(h.operations) == 0 {
		return false
	}
	since, seen := h.held[id]
	if !seen {
		since = time.Now()
		h.held[id] = since
	}
	return time.Since(since) < patience
}

// tell delivers an event if it is news.
func (h *Hub) tell(e Event) {
	if h.learn(e) {
		h.deliver(e)
	}
}

// learn keeps in mind what an event says, and tells whether it is news. The mutex is held.
func (h *Hub) learn(e Event) bool {
	names := h.known[e.ID]
	switch {
	case e.Kind.creates():
		if e.Name != "" && !slices.Contains(names, e.Name) {
			names = append(names, e.Name)
		}
		h.known[e.ID] = names
		delete(h.held, e.ID)
	case e.Kind == Tagged:
		if slices.Contains(names, e.Name) {
			return false
		}
		if has(h.known, e.ID) { // else the next look tells of the image first
			h.known[e.ID] = append(names, e.Name)
		}
	case e.Kind == Untagged:
		if !slices.Contains(names, e.Name) {
			return false
		}
		h.known[e.ID] = slices.DeleteFunc(names, func(n string) bool { return n == e.Name })
	case e.Kind == Removed:
		there := has(h.known, e.ID)
		delete(h.known, e.ID)
		return there
	}
	return true
}

func has(s State, id string) bool {
	_, ok := s[id]
	return ok
}

// copyOf copies a state: what is known changes on its own.
func copyOf(s State) State {
	c := make(State, len(s))
	for id, names := range s {
		c[id] = slices.Clone(names)
	}
	return c
}
