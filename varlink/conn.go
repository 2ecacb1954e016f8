package varlink

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Peer is who is on the other end of a connection, as the kernel noted it when the connection was made.
type Peer struct {
	// UID and GID are the effective user and group, as seen from this process's user namespace.
	UID, GID uint32
	// PID is the process; by now it may be gone, and its number another's.
	PID int32
}

// peerOf reads the credentials.
func peerOf(raw syscall.RawConn) (Peer, error) {
	var cred *unix.Ucred
	var err error
	if ctl := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); ctl != nil {
		return Peer{}, ctl
	}
	if err != nil {
		return Peer{}, err
	}
	return Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}

// serverConn is a connection with the goroutine that serves it.
type serverConn struct {
	server   *Server
	wire     *wire
	peer     Peer
	readOnly bool
	abstract bool
	watch    hangupWatch

	// mu guards what follows.
	mu      sync.Mutex
	reading bool // waits for a call, so that closing may interrupt it
	closing bool // no more calls
}

func newServerConn(s *Server, w *wire, peer Peer, readOnly bool) *serverConn {
	c := &serverConn{server: s, wire: w, peer: peer, readOnly: readOnly}
	c.watch.wire = w
	w.setReadDeadline = c.setReadDeadline
	return c
}

// serve answers calls until the connection ends.
func (c *serverConn) serve() {
	defer c.server.dismiss(c)
	defer c.wire.release()
	defer func() { _ = c.wire.close() }() // what matters was an error of a write
	defer c.watch.stop()
	for c.setReading(true) {
		message, files, err := c.wire.readMessage()
		c.setReading(false)
		if err != nil {
			c.logEnd(err)
			return
		}
		if !c.handle(message, files) {
			return
		}
	}
}

// handle answers one call; false ends the connection.
func (c *serverConn) handle(message []byte, files []int) bool {
	e, err := parseCall(message)
	if err != nil {
		closeFiles(files)
		c.logEnd(err)
		return false
	}
	ctx, cancel := context.WithCancelCause(c.server.base)
	call := &Call{conn: c, envelope: e, files: files, cancel: cancel}
	call.ctx = callContext{Context: ctx, call: call}
	c.watch.arm(call)
	defer func() {
		c.watch.disarm()
		if call.upgraded != nil {
			call.upgraded.stop()
		}
		cancel(nil)
		call.release()
	}()
	call.run()
	return !call.last
}

// setReading marks the time in which shutdown may interrupt the read; false means that there is no next call.
func (c *serverConn) setReading(reading bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = reading
	return !c.closing
}

// setReadDeadline is the reader's; it does not undo shutdown's.
func (c *serverConn) setReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		t = longAgo
	}
	return c.wire.conn.SetReadDeadline(t)
}

// shutdown lets a call in progress end and takes no further one.
func (c *serverConn) shutdown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	if c.reading {
		_ = c.wire.conn.SetReadDeadline(longAgo) // fails only on a closed one
	}
}

// logEnd tells why a connection ends, if it is worth a line.
func (c *serverConn) logEnd(err error) {
	if errors.Is(err, io.EOF) || c.server.base.Err() != nil {
		return
	}
	c.server.logger().Debugf("connection of uid %d, pid %d closed: %v", c.peer.UID, c.peer.PID, err)
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)
