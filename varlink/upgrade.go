package varlink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// UpgradedConn is a connection after an upgrade: raw bytes in both directions. One goroutine may read and one may write at
// the same time.
type UpgradedConn struct {
	wire  *wire
	cause func() error        // why the connection was interrupted, nil if it was not
	gone  func(error)         // told that the peer has gone
	stop  func() bool         // ends the interruption
	ended func()              // told that the peer has finished writing, but not gone
	final func(out any) error // what Receive does

	finished atomic.Bool                 // no more is written
	close    func(c *UpgradedConn) error // what Close does
}

// Upgrade confirms an upgrade with a reply and hands the raw bytes over. The connection belongs to the handler until it
// returns; then the server closes it. Reads and writes end with the cause of the handler's context when that ends.
//
// A handler that took an upload may make one more reply, or return an error, which goes out as one message behind all raw
// bytes; Receive is the client's side of that. After CloseWrite or Close such a reply is dropped.
//
// The error is an *ExpectedUpgradeError if the client did not ask for an upgrade, and otherwise one of Reply's.
func (c *Call) Upgrade(out any) (*UpgradedConn, error) {
	if !c.upgrade {
		return nil, &ExpectedUpgradeError{}
	}
	c.conn.watch.disarm() // the reading side is the handler's now
	if err := c.Reply(out); err != nil {
		return nil, err
	}
	c.parameters = bytes.Clone(c.parameters) // the buffer is the reader's now
	wire := c.conn.wire
	u := &UpgradedConn{
		wire:  wire,
		cause: func() error { return context.Cause(c.ctx.Context) },
		gone:  func(err error) { c.cancel(err) },
		close: func(u *UpgradedConn) error { u.stop(); return wire.close() },
		ended: func() { c.conn.watch.arm(c) },
		final: func(any) error { return errServerReceive },
	}
	u.stop = context.AfterFunc(c.ctx.Context, u.interrupt)
	c.mu.Lock()
	c.upgraded, c.replied = u, false
	c.mu.Unlock()
	return u, nil
}

// errServerReceive says that a handler has used a method of clients.
var errServerReceive = errors.New("varlink: Receive is for clients")

// interrupt ends reads and writes.
func (u *UpgradedConn) interrupt() {
	_ = u.wire.conn.SetDeadline(longAgo) // fails only on a closed one
}

// Read reads bytes, those first that came together with the call or the reply. The error is io.EOF when the peer has
// finished writing.
func (u *UpgradedConn) Read(p []byte) (int, error) {
	if u.wire.start < u.wire.end {
		return u.wire.buffered(p), nil
	}
	n, err := u.wire.conn.Read(p)
	if errors.Is(err, io.EOF) {
		u.checkGone()
		return n, err
	}
	return n, u.explain(err)
}

// checkGone tells the handler's context when the end of file was not half of the connection but all of it.
func (u *UpgradedConn) checkGone() {
	gone := false
	if u.wire.raw.Control(func(fd uintptr) { gone = hungUp(fd) }) == nil && gone {
		u.gone(ErrHangup)
		return
	}
	u.ended()
}

// Write writes bytes. The error contains ErrHangup when the peer has gone.
func (u *UpgradedConn) Write(p []byte) (int, error) {
	n, err := u.wire.conn.Write(p)
	return n, u.explain(err)
}

// explain finds the reason for a failed read or write.
func (u *UpgradedConn) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case isHangup(err):
		u.gone(ErrHangup)
		return ErrHangup
	case u.cause() != nil:
		return u.cause()
	}
	return err
}

// CloseWrite tells the peer that no more bytes follow; what it sends can still be read.
func (u *UpgradedConn) CloseWrite() error {
	u.finished.Store(true)
	return u.wire.conn.CloseWrite()
}

// Receive reads the reply that ends an upload into out, after the client has written everything and called CloseWrite.
// Its error may be what Client.Call returns for an error reply. It is for clients.
func (u *UpgradedConn) Receive(out any) error { return u.final(out) }

// SetDeadline bounds reads and writes as net.Conn's does; the zero time is no bound.
func (u *UpgradedConn) SetDeadline(t time.Time) error { return u.wire.conn.SetDeadline(t) }

// Close closes the connection.
func (u *UpgradedConn) Close() error {
	u.finished.Store(true)
	return u.close(u)
}
