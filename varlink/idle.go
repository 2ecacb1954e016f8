package varlink

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// idleState is how a server finds out, without losing a client, that it may end. When the time has passed, the accept
// loops are woken and wait; the last one to arrive decides for all. So no connection can be between accept and its count.
type idleState struct {
	timer  *time.Timer
	asking bool // accept loops are on their way to the decision
	parked int  // accept loops that wait for it
	exit   bool // the decision, for ever
	cond   sync.Cond
}

func (i *idleState) stopTimer() {
	if i.timer != nil {
		i.timer.Stop()
	}
}

// armIdle starts the idle time if there is nothing to do. The caller holds s.mu.
func (s *Server) armIdle() {
	if s.IdleTimeout <= 0 || s.closing || len(s.conns) > 0 || len(s.listeners) == 0 || s.idle.asking || s.idle.exit {
		return
	}
	if s.idle.timer == nil {
		s.idle.timer = time.AfterFunc(s.IdleTimeout, s.askIdle)
		return
	}
	s.idle.timer.Reset(s.IdleTimeout)
}

// askIdle wakes the accept loops for the decision.
func (s *Server) askIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.idle.asking || s.idle.exit {
		return
	}
	if len(s.conns) > 0 || s.Busy != nil && s.Busy() {
		s.armIdle()
		return
	}
	s.idle.asking = true
	for l := range s.listeners {
		_ = l.SetDeadline(time.Unix(1, 0)) // fails only on a closed one, whose loop ends anyway
	}
}

// parkIdle waits for the decision; true means that the caller's loop ends.
func (s *Server) parkIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle.parked++
	for s.idle.asking && !s.closing {
		if s.idle.parked >= len(s.listeners) {
			s.decideIdle()
			break
		}
		s.idle.cond.Wait()
	}
	s.idle.parked--
	return s.idle.exit || s.closing
}

// decideIdle makes the decision for all accept loops, all of which wait. The caller holds s.mu.
func (s *Server) decideIdle() {
	s.idle.asking = false
	s.idle.exit = len(s.conns) == 0 && (s.Busy == nil || !s.Busy())
	for l := range s.listeners {
		s.idle.exit = s.idle.exit && !l.waiting()
	}
	if !s.idle.exit {
		for l := range s.listeners {
			_ = l.SetDeadline(time.Time{}) // fails only on a closed one, whose loop ends anyway
		}
		s.armIdle()
	}
	s.idle.cond.Broadcast()
}

func (s *Server) idleOrClosed() error {
	if s.base.Err() != nil {
		return ErrServerClosed
	}
	return ErrIdle
}

// waiting says whether a client waits to be accepted.
func (l *listening) waiting() bool {
	raw, err := l.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	err = raw.Control(func(fd uintptr) {
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	})
	return err == nil && n > 0
}
