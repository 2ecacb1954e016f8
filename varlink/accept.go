package varlink

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstBackOff = 5 * time.Millisecond
	lastBackOff  = time.Second
)

// ListenOption is a property of one socket.
type ListenOption func(*listening)

// ReadOnly makes a socket one on which only methods that are marked ReadOnly can be called; others are answered with
// PermissionDeniedError.
func ReadOnly() ListenOption {
	return func(l *listening) { l.readOnly = true }
}

// listening is a listener that is being served.
type listening struct {
	*net.UnixListener
	readOnly bool
}

// Serve accepts connections on l, and serves each in a goroutine of its own, until the server is closed
// (ErrServerClosed), has been idle for IdleTimeout (ErrIdle), or l is no longer usable. It closes l. Several listeners
// may be served at the same time; they are idle together or not at all.
//
// Failures that pass, as running out of descriptors, are waited for: 5 ms at first, then twice as long each time, up to
// a second.
func (s *Server) Serve(l *net.UnixListener, opts ...ListenOption) error {
	entry := &listening{UnixListener: l}
	for _, o := range opts {
		o(entry)
	}
	if err := s.addListener(entry); err != nil {
		_ = l.Close() // refused; the reason is err
		return err
	}
	err := s.acceptLoop(entry)
	s.removeListener(entry)
	_ = l.Close() // never used for output
	return err
}

func (s *Server) addListener(l *listening) error {
	if err := s.init(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.armIdle()
	return nil
}

func (s *Server) removeListener(l *listening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	s.idle.cond.Broadcast()
}

func (s *Server) acceptLoop(l *listening) error {
	var pause time.Duration
	for {
		conn, err := l.AcceptUnix()
		switch {
		case err == nil:
			pause = 0
			s.start(conn, l.readOnly)
		case s.base.Err() != nil:
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("varlink: listener: %w", err)
		case isTimeout(err):
			if s.parkIdle() {
				return s.idleOrClosed()
			}
		case !passes(err):
			return fmt.Errorf("varlink: accept: %w", err)
		default:
			pause = min(max(2*pause, firstBackOff), lastBackOff)
			s.logger().Warnf("accepting on %s: %v; next try in %v", l.Addr(), err, pause)
			s.sleep(pause)
		}
	}
}

// start serves an accepted connection in a goroutine of its own.
func (s *Server) start(conn *net.UnixConn, readOnly bool) {
	c, err := s.admit(conn, readOnly)
	if err != nil {
		s.logger().Debugf("client refused: %v", err)
		_ = conn.Close() // refused; nothing was exchanged
		return
	}
	go c.serve()
}

// sleep waits, but not longer than the server lives.
func (s *Server) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.base.Done():
	}
}

// passes says whether an accept error is one that goes away, as lack of descriptors, and not the listener's end.
func passes(err error) bool {
	return !errors.Is(err, unix.EBADF) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSOCK) &&
		!errors.Is(err, unix.EOPNOTSUPP)
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// admit counts a new connection, or refuses it. The caller runs serve on what it returns.
func (s *Server) admit(conn *net.UnixConn, readOnly bool) (*serverConn, error) {
	if err := s.init(); err != nil {
		return nil, err
	}
	w, err := newWire(conn, s.limits())
	if err != nil {
		return nil, fmt.Errorf("varlink: connection: %w", err)
	}
	peer, err := peerOf(w.raw)
	if err != nil {
		return nil, fmt.Errorf("varlink: peer credentials: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	most, mostUID := orDefault(s.MaxConnections, DefaultMaxConnections), orDefault(s.MaxConnectionsPerUID, DefaultMaxConnectionsPerUID)
	switch {
	case s.closing:
		return nil, ErrServerClosed
	case len(s.conns) >= most:
		return nil, &LimitError{Limit: "MaxConnections", Value: int64(most)}
	case s.perUID[peer.UID] >= mostUID:
		return nil, &LimitError{Limit: "MaxConnectionsPerUID", Value: int64(mostUID)}
	}
	c := newServerConn(s, w, peer, readOnly)
	c.abstract = isAbstract(conn.LocalAddr().String())
	s.conns[c] = struct{}{}
	s.perUID[peer.UID]++
	s.running.Add(1)
	s.idle.stopTimer()
	return c, nil
}

// dismiss is the end of what admit began.
func (s *Server) dismiss(c *serverConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.perUID[c.peer.UID]--; s.perUID[c.peer.UID] == 0 {
		delete(s.perUID, c.peer.UID)
	}
	s.armIdle()
	s.running.Done()
}
