package events

import (
	"context"
	"iter"
	"sync"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// Subscription is one listener's events. Close may be called from any goroutine, Events from one at a time.
type Subscription struct {
	hub  *Hub
	more chan struct{} // has room for one

	mu    sync.Mutex // guards what follows
	queue []Event
	lost  bool // it was too slow
}

// add puts an event into the queue, or ends the subscription.
func (s *Subscription) add(e Event, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= most {
		s.lost = true
	}
	if !s.lost {
		s.queue = append(s.queue, e)
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// Events yields what happens, as it happens. It ends with an error: errdefs.Cancelled once the context has ended, or
// errdefs.LimitExceeded, after what was still kept, if this listener was so slow that events were lost.
func (s *Subscription) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			queue, lost := s.take()
			for _, e := range queue {
				if !yield(e, nil) {
					return
				}
			}
			if lost {
				yield(Event{}, &errdefs.LimitExceeded{Limit: LimitQueue, Value: int64(s.hub.options.MaxQueue)})
				return
			}
			select {
			case <-s.more:
			case <-ctx.Done():
				yield(Event{}, &errdefs.Cancelled{Err: context.Cause(ctx)})
				return
			}
		}
	}
}

func (s *Subscription) take() (queue []Event, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue, s.queue = s.queue, nil
	return queue, s.lost
}

// Close ends the subscription. Calling it again does nothing.
func (s *Subscription) Close() { s.hub.leave(s) }
