package events_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a store of nothing but names.
type store struct {
	mu       sync.Mutex // guards what follows
	state    events.State
	fail     error
	deaf     bool // nobody is told of changes
	changed  func()
	watching int
	reads    int
	reading  func() // called at the end of each reading
}

func newHub(s *store, change ...func(*events.Options)) *events.Hub {
	if s.state == nil {
		s.state = events.State{}
	}
	o := events.Options{MaxSubscribers: 2, MaxQueue: 10, State: s.read, Notify: s.notify}
	for _, f := range change {
		f(&o)
	}
	return events.NewHub(o)
}

func (s *store) read(context.Context) (events.State, error) {
	s.mu.Lock()
	s.reads++
	state, fail, reading := maps.Clone(s.state), s.fail, s.reading
	s.mu.Unlock()
	if reading != nil {
		reading()
	}
	return state, fail
}

func (s *store) notify(changed func()) (func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watching++
	if s.deaf {
		return nil, errors.New("out of watches")
	}
	s.changed = changed
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watching--
		s.changed = nil
	}, nil
}

// set changes what an image is called; no names at all removes it.
func (s *store) set(id string, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state[id] = names; len(names) == 0 {
		delete(s.state, id)
	}
	if s.changed != nil {
		s.changed()
	}
}

// recorder writes down what a subscription is told.
type recorder struct {
	subscription *events.Subscription
	cancel       context.CancelFunc
	done         chan struct{}
	told         []string
	err          error
}

func record(t *testing.T, h *events.Hub) *recorder {
	t.Helper()
	sub, err := h.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &recorder{subscription: sub, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for e, err := range sub.Events(ctx) {
			if r.err = err; err == nil {
				r.told = append(r.told, fmt.Sprint(e.Kind, " ", e.ID, " ", e.Name))
			}
		}
	}()
	return r
}

// want ends the recording once all is quiet and compares it.
func (r *recorder) want(t *testing.T, want ...string) {
	t.Helper()
	time.Sleep(10 * time.Second) // of the bubble's own time
	synctest.Wait()
	r.cancel()
	<-r.done
	r.subscription.Close()
	r.subscription.Close()
	if diff := cmp.Diff(want, r.told); diff != "" {
		t.Error(diff)
	}
	if errdefs.Name(r.err) != "Cancelled" {
		t.Errorf("it ended with %v", r.err)
	}
}

func TestForeignChanges(t *testing.T) {
	t.Parallel()
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprint("deaf=", deaf), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &store{state: events.State{"old": {"a", "b"}, "gone": {"x"}}, deaf: deaf}
				r := record(t, newHub(s))
				s.set("old", "b", "c")
				s.set("new", "n", "m")
				s.set("gone")
				time.Sleep(3 * time.Second)
				s.set("new", "n")
				r.want(t, "untagged gone x", "removed gone ", "untagged old a", "pulled new n", "tagged new m", "tagged old c", "untagged new m")
			})
		})
	}
}

func TestOwnChangesAreToldOnce(t *testing.T) {
	t.Parallel()
	own := func(h *events.Hub, kind events.Kind, id, name string) {
		h.Publish(events.Event{Kind: kind, ID: id, Name: name})
	}
	for _, seenFirst := range []bool{false, true} {
		t.Run(fmt.Sprint("seenFirst=", seenFirst), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &store{state: events.State{"i": {"a"}}}
				h := newHub(s)
				r := record(t, h)
				pause := func() {
					if seenFirst {
						time.Sleep(time.Second) // the store is looked at before it is published
					}
				}
				s.set("i", "a", "b")
				pause()
				own(h, events.Tagged, "i", "b")
				s.set("i", "b")
				pause()
				own(h, events.Untagged, "i", "a")
				s.set("i")
				pause()
				own(h, events.Untagged, "i", "b")
				own(h, events.Removed, "i", "")
				own(h, events.Pushed, "i", "b")
				r.want(t, "tagged i b", "untagged i a", "untagged i b", "removed i ", "pushed i b")
			})
		})
	}
}

func TestOwnImages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		h := newHub(s)
		r := record(t, h)
		slow, quick := h.Begin(), h.Begin()
		s.set("1", "a", "b")
		time.Sleep(3 * time.Second) // within its patience
		h.Publish(events.Event{Kind: events.Loaded, ID: "1", Name: "a"})
		quick.End()
		s.set("2", "c")
		slow.Made("2")
		time.Sleep(time.Minute) // as long as it likes
		s.set("3", "d")         // not ours
		time.Sleep(10 * time.Second)
		h.Publish(events.Event{Kind: events.Built, ID: "2", Name: "c"})
		s.set("4", "e")
		slow.End() // without a word
		h.Publish(events.Event{Kind: events.Built, ID: "1", Name: "a"})
		r.want(t, "loaded 1 a", "tagged 1 b", "pulled 3 d", "built 2 c", "built 1 a", "pulled 4 e")
	})
}

func TestAnOldLookAtTheStoreIsNotBelieved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{state: events.State{"i": {"a"}}}
		h := newHub(s)
		r := record(t, h)
		s.reading = sync.OnceFunc(func() { // between reading the store and using it
			s.set("i", "a", "b")
			h.Publish(events.Event{Kind: events.Tagged, ID: "i", Name: "b"})
		})
		s.set("i", "a")
		r.want(t, "tagged i b")
	})
}

func TestTagOfAnImageThatWasNotSeenYet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		h := newHub(s)
		r := record(t, h)
		s.set("i", "a", "b")
		h.Publish(events.Event{Kind: events.Tagged, ID: "i", Name: "a"})
		h.Publish(events.Event{Kind: events.Untagged, ID: "j", Name: "a"})
		h.Publish(events.Event{Kind: events.Removed, ID: "j"})
		r.want(t, "tagged i a", "pulled i a", "tagged i b")
	})
}

func TestSlowListenerIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub(&store{})
		slow, err := h.Subscribe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		r := record(t, h)
		var want []string
		for i := range 30 {
			h.Publish(events.Event{Kind: events.Pushed, ID: fmt.Sprint(i)})
			want = append(want, fmt.Sprintf("pushed %d ", i))
			synctest.Wait() // the other one keeps up
		}
		n := 0
		for _, err = range slow.Events(t.Context()) {
			n++
		}
		if limit, ok := errors.AsType[*errdefs.LimitExceeded](err); !ok || limit.Limit != events.LimitQueue || limit.Value != 10 || n != 11 {
			t.Errorf("%d events, then %v", n, err)
		}
		r.want(t, want...)
	})
}

func TestNothingRunsWithoutListeners(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		h := newHub(s)
		h.Publish(events.Event{Kind: events.Pushed, ID: "1"})
		h.Begin().End()
		for range 2 {
			record(t, h).want(t)
		}
		reads := s.reads
		h.Publish(events.Event{Kind: events.Pushed, ID: "1"})
		s.set("1", "a")
		time.Sleep(time.Hour)
		if s.watching != 0 || s.reads != reads {
			t.Errorf("%d watches, read %d times", s.watching, s.reads-reads)
		}
	})
}

func TestSubscribeFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &store{fail: errors.New("damaged")}
		h := newHub(s)
		if _, err := h.Subscribe(t.Context()); !errors.Is(err, s.fail) || s.watching != 0 {
			t.Errorf("a broken store: %v, %d watches", err, s.watching)
		}
		s.fail = nil
		a, b := record(t, h), record(t, h)
		_, err := h.Subscribe(t.Context())
		if limit, ok := errors.AsType[*errdefs.LimitExceeded](err); !ok || limit.Limit != events.LimitSubscribers {
			t.Errorf("too many: %v", err)
		}
		s.mu.Lock()
		s.fail = errors.New("damaged now")
		s.mu.Unlock()
		s.set("1", "a")
		time.Sleep(5 * time.Second)
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		a.want(t, "pulled 1 a")
		b.want(t, "pulled 1 a")
	})
}

func TestEndingAnEarlyLoop(t *testing.T) {
	t.Parallel()
	h := newHub(&store{})
	sub, err := h.Subscribe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	h.Publish(events.Event{Kind: events.Pushed, ID: "1", Err: errors.New("x")})
	for e, err := range sub.Events(t.Context()) {
		if e.ID != "1" || e.Time.IsZero() || e.Err == nil || err != nil {
			t.Errorf("%+v, %v", e, err)
		}
		break
	}
	if !slices.Contains(events.Kinds, events.Pushed) {
		t.Error("a kind is missing")
	}
}
