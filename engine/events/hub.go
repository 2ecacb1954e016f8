package events

import (
	"context"
	"sync"
	"time"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// Names of the limits, as errdefs.LimitExceeded carries them.
const (
	// LimitSubscribers is Options.MaxSubscribers.
	LimitSubscribers = "images.watchers"
	// LimitQueue is Options.MaxQueue.
	LimitQueue = "images.watchQueue"
)

// State are the names of all images of a store, by the images' ids.
type State map[string][]string

// Options say what a hub listens to. All fields must be set.
type Options struct {
	// MaxSubscribers is how many may subscribe at once.
	MaxSubscribers int
	// MaxQueue is how many events may wait for one of them. One that leaves more loses its subscription.
	MaxQueue int
	// State reads the store.
	State func(context.Context) (State, error)
	// Notify calls changed whenever the store may have changed, until stop is called, which waits for calls that
	// run. If it fails the store is looked at every now and then.
	Notify func(changed func()) (stop func(), err error)
}

// Hub passes events on. It is safe for concurrent use.
type Hub struct {
	options Options

	turn sync.Mutex // held while it is begun or ended to watch the store; never together with mu for long
	stop func()     // ends that; nil: it is not watched. Guarded by turn

	mu          sync.Mutex // guards what follows; not held while the store is read
	subscribers map[*Subscription]struct{}
	operations  map[*Operation]struct{}
	known       State                // as told up to now; nil: nobody listens
	held        map[string]time.Time // new images that may be ours, with when they were seen first
	published   uint64               // counts what was published, so that an old look at the store is known as one
	wake        chan struct{}        // has room for one
}

// NewHub makes a hub. Nothing runs until somebody subscribes.
func NewHub(o Options) *Hub {
	return &Hub{
		options: o, subscribers: make(map[*Subscription]struct{}), operations: make(map[*Operation]struct{}), wake: make(chan struct{}, 1),
	}
}

// Publish tells what this process did. It never blocks, and does nothing if nobody listens. It is to be called after the store was
// changed and while the lock of the image is still held.
func (h *Hub) Publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil {
		return
	}
	h.published++
	if h.learn(e) {
		h.deliver(e)
	}
	if e.Kind.creates() {
		h.look() // it may have more names
	}
}

// deliver gives an event to all subscribers. The mutex is held.
func (h *Hub) deliver(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	for s := range h.subscribers {
		s.add(e, h.options.MaxQueue)
	}
}

// look has the store looked at soon.
func (h *Hub) look() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Operation is something of this process that brings images into the store.
type Operation struct {
	hub  *Hub
	made map[string]struct{} // guarded by hub.mu
}

// Begin says that images may appear in the store which this process will publish an event of. The operation is ended
// by End. To begin one costs nothing, whether somebody listens or not.
func (h *Hub) Begin() *Operation {
	o := &Operation{hub: h, made: make(map[string]struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations[o] = struct{}{}
	return o
}

// Made says that an image is this operation's, as soon as that is known: its event may take as long as it likes.
func (o *Operation) Made(id string) {
	o.hub.mu.Lock()
	defer o.hub.mu.Unlock()
	o.made[id] = struct{}{}
}

// End ends the operation. What it did not publish is told as what it looks like.
func (o *Operation) End() {
	o.hub.mu.Lock()
	defer o.hub.mu.Unlock()
	delete(o.hub.operations, o)
	o.hub.look()
}

// Subscribe returns what tells of everything that happens from now on. The caller closes it.
func (h *Hub) Subscribe(ctx context.Context) (*Subscription, error) {
	h.turn.Lock()
	defer h.turn.Unlock()
	h.mu.Lock()
	full := len(h.subscribers) >= h.options.MaxSubscribers
	h.mu.Unlock()
	if full {
		return nil, &errdefs.LimitExceeded{Limit: LimitSubscribers, Value: int64(h.options.MaxSubscribers)}
	}
	if h.stop == nil {
		if err := h.start(ctx); err != nil {
			return nil, err
		}
	}
	s := &Subscription{hub: h, more: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers[s] = struct{}{}
	return s, nil
}

// leave ends a subscription, and the watching with the last one.
func (h *Hub) leave(s *Subscription) {
	h.turn.Lock()
	defer h.turn.Unlock()
	h.mu.Lock()
	_, there := h.subscribers[s]
	delete(h.subscribers, s)
	last := there && len(h.subscribers) == 0
	h.mu.Unlock()
	if last {
		h.stop()
		h.stop = nil
	}
}
