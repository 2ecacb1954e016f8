package varlink

import (
	"sync"
	"time"
)

// watchAfter is how long a call runs before its client is watched; shorter calls are not worth it.
const watchAfter = 10 * time.Millisecond

// hangupWatch ends a call's context when its client has closed both directions. It uses the reading side of the
// connection, which nobody else does during a call. A client that has only finished writing is not gone.
type hangupWatch struct {
	wire  *wire
	timer *time.Timer

	// mu guards what follows.
	mu   sync.Mutex
	call *Call         // the call that is watched, nil between calls
	done chan struct{} // closed when the watching goroutine has ended; nil when there is none
}

// arm watches a call that lasts.
func (h *hangupWatch) arm(call *Call) {
	h.mu.Lock()
	h.call = call
	h.mu.Unlock()
	if h.timer == nil {
		h.timer = time.AfterFunc(watchAfter, h.watch)
		return
	}
	h.timer.Reset(watchAfter)
}

// disarm ends the watch, and returns the reading side to the connection.
func (h *hangupWatch) disarm() {
	h.timer.Stop()
	h.mu.Lock()
	h.call = nil
	done := h.done
	h.done = nil
	h.mu.Unlock()
	if done == nil {
		return
	}
	_ = h.wire.conn.SetReadDeadline(longAgo) // fails only on a closed one, which ends the watch as well
	<-done
	_ = h.wire.conn.SetReadDeadline(time.Time{})
}

// watch is the timer's function. It may come late, when the call is over or another has begun: then it does nothing, or
// begins a little early.
func (h *hangupWatch) watch() {
	h.mu.Lock()
	call := h.call
	if call == nil || h.done != nil {
		h.mu.Unlock()
		return
	}
	done := make(chan struct{})
	h.done = done
	h.mu.Unlock()
	defer close(done)
	gone := false
	err := h.wire.raw.Read(func(fd uintptr) bool {
		gone = hungUp(fd)
		return gone
	})
	if err == nil && gone {
		call.cancel(ErrHangup)
	}
}
