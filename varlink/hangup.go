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
	wire *wire

	// mu guards what follows.
	mu      sync.Mutex
	timer   *time.Timer
	pending bool          // the timer runs
	call    *Call         // the call in progress, nil between calls
	done    chan struct{} // closed when the watching goroutine has ended; nil when there is none
}

// arm watches a call that lasts. The timer is left running when a call ends, since starting it for each of many short
// calls would cost more than the calls.
func (h *hangupWatch) arm(call *Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.call = call
	switch {
	case h.pending:
		return
	case h.timer == nil:
		h.timer = time.AfterFunc(watchAfter, h.watch)
	default:
		h.timer.Reset(watchAfter)
	}
	h.pending = true
}

// disarm ends the watch, and returns the reading side to the connection.
func (h *hangupWatch) disarm() {
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

// stop ends the timer with the connection.
func (h *hangupWatch) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
}

// watch is the timer's function, which watches the call that is in progress by now.
func (h *hangupWatch) watch() {
	h.mu.Lock()
	h.pending = false
	call := h.call
	if call == nil {
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
