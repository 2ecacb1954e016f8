package varlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Client is the calling end of a connection. Its methods may be used by several goroutines: calls wait for each other,
// since a connection carries one at a time. After an error of the connection itself, and after a context ended in the middle of
// a call, the connection cannot be used any more: every call then returns ErrClosed.
type Client struct {
	wire *wire
	turn chan struct{} // holds a token while the connection is free

	// mu guards what follows.
	mu        sync.Mutex
	streaming bool       // a Stream has the turn
	dead      error      // why the connection cannot be used
	push      []*os.File // for the next call
	files     []int      // came with the last reply; -1: taken
}

// Reply is one reply of a Stream.
type Reply struct {
	// Parameters is a JSON object, {} when the reply had none. It is the caller's to keep.
	Parameters jsontext.Value
	// Continues says that further replies follow.
	Continues bool
}

// Dial connects to address, "unix:/path" or "unix:@abstract". ctx bounds the connecting only.
func Dial(ctx context.Context, address string) (*Client, error) {
	addr, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", addr.Name)
	if err != nil {
		return nil, fmt.Errorf("varlink: %w", err)
	}
	return NewClient(conn.(*net.UnixConn)), nil
}

// NewClient makes a Client of a connection, which it owns from now on: one end of a socket pair, say.
func NewClient(conn *net.UnixConn) *Client {
	c := &Client{turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	limits := wireLimits{message: DefaultMaxMessageSize, descriptors: kernelDescriptors, pipelined: DefaultMaxPipelined}
	if c.wire, c.dead = newWire(conn, limits); c.dead != nil {
		c.wire = &wire{conn: conn}
	}
	return c
}

// Call calls a method and decodes its one reply into out, leniently, as Unmarshal does. in encodes to the parameters; nil is
// {}. out may be nil. An error reply is one of the typed errors of org.varlink.service or a *ReplyError.
func (c *Client) Call(ctx context.Context, method string, in, out any) error {
	return c.exchange(ctx, method, "", in, func() error {
		r, err := c.receive()
		switch {
		case err != nil:
			return err
		case r.continues:
			return c.kill(fmt.Errorf("%w: continues in the reply to a call without more", errMalformed))
		case out == nil:
			return nil
		}
		if err := Unmarshal(r.parameters, out); err != nil {
			return fmt.Errorf("varlink: %s: reply: %w", method, err)
		}
		return nil
	})
}

// Oneway sends a call that is never answered; nil says that it was sent, no more.
func (c *Client) Oneway(ctx context.Context, method string, in any) error {
	return c.exchange(ctx, method, "oneway", in, func() error { return nil })
}

// Stream calls a method with more and yields its replies until the last. An error, yielded with a zero Reply, ends the
// sequence; it is like that of Call. Leaving the loop before the last reply closes the connection: that is how a client
// tells a service to stop. Within the loop no other call can be made on this Client: it returns ErrStreaming. The
// sequence can be used once.
func (c *Client) Stream(ctx context.Context, method string, in any) iter.Seq2[Reply, error] {
	return func(yield func(Reply, error) bool) {
		left := false
		err := c.exchange(ctx, method, "more", in, func() error {
			c.setStreaming(true)
			defer c.setStreaming(false)
			for {
				r, err := c.receive()
				if err != nil {
					return err
				}
				reply := Reply{jsontext.Value(r.parameters).Clone(), r.continues}
				if left = !yield(reply, nil); left && r.continues {
					return c.kill(nil)
				}
				if left || !r.continues {
					return nil
				}
			}
		})
		if err != nil && !left {
			yield(Reply{}, err)
		}
	}
}

// Upgrade calls a method with upgrade, decodes the confirming reply into out, and hands the raw connection over. The Client
// cannot be used any more then; after an error reply it can.
func (c *Client) Upgrade(ctx context.Context, method string, in, out any) (*UpgradedConn, error) {
	one := func(out any) error {
		r, err := c.receive()
		if err == nil && r.continues {
			err = c.kill(fmt.Errorf("%w: continues in the reply to a call without more", errMalformed))
		}
		if err == nil && out != nil {
			if err = Unmarshal(r.parameters, out); err != nil {
				err = c.kill(fmt.Errorf("varlink: %s: reply: %w", method, err))
			}
		}
		return err
	}
	if err := c.exchange(ctx, method, "upgrade", in, func() error { return one(out) }); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = ErrClosed
	return &UpgradedConn{
		wire:  c.wire,
		cause: func() error { return nil },
		gone:  func(error) {},
		ended: func() {},
		final: one,
		close: func(*UpgradedConn) error { return c.Close() },
	}, nil
}

// PushFile attaches a descriptor to the next call, and returns the index by which that call's parameters name it. The
// Client owns f from now on and closes it. Goroutines that share a Client must not push at the same time.
func (c *Client) PushFile(f *os.File) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push = append(c.push, f)
	return int64(len(c.push) - 1)
}

// TakeFile gives a descriptor that came with the newest reply to the caller, who closes it. The error says that there is none
// with this index, or that it has been taken. Those not taken are closed when the next reply comes.
func (c *Client) TakeFile(index int64) (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := takeFile(c.files, index)
	if f == nil {
		return nil, fmt.Errorf("varlink: the reply came without a descriptor %d", index)
	}
	return f, nil
}

// Close closes the connection. A call in progress ends with ErrClosed.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.dead == nil {
		c.dead = ErrClosed
	}
	c.setFiles(nil)
	closeAll(c.push)
	c.push = nil
	c.mu.Unlock()
	return c.wire.close()
}

// exchange sends a call and runs receive, when it is this call's turn. The connection is dead when ctx ends in between.
func (c *Client) exchange(ctx context.Context, method, mode string, in any, receive func() error) error {
	if err := c.takeTurn(ctx); err != nil {
		return err
	}
	defer func() { c.turn <- struct{}{} }()
	files, err := c.begin()
	defer closeAll(files)
	if err != nil {
		return err
	}
	m := newMessage()
	defer m.put()
	if err := m.call(method, in, mode); err != nil {
		return err
	}
	if m.Len()-1 > c.wire.limits.message {
		return &LimitError{Limit: "MaxMessageSize", Value: int64(c.wire.limits.message)}
	}
	defer c.interruptible(ctx)()
	c.wire.single = mode != "more"
	if err := c.wire.write(m.Bytes(), files, 0); err != nil {
		return c.broken(ctx, wireError{err})
	}
	return c.broken(ctx, receive())
}

// takeTurn waits until no other call is in progress.
func (c *Client) takeTurn(ctx context.Context) error {
	select {
	case <-c.turn:
		return nil
	default:
	}
	c.mu.Lock()
	streaming := c.streaming
	c.mu.Unlock()
	if streaming {
		return ErrStreaming
	}
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// begin takes the pushed descriptors, and fails if the connection is dead.
func (c *Client) begin() ([]*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := c.push
	c.push = nil
	return files, c.dead
}

// interruptible makes the end of ctx the end of the connection until the returned function is called.
func (c *Client) interruptible(ctx context.Context) func() {
	if ctx.Done() == nil {
		return func() {}
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = c.kill(nil)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// broken gives an error of the connection its reason; error replies and others stay as they are.
func (c *Client) broken(ctx context.Context, err error) error {
	if err == nil || !isWireError(err) {
		return err
	}
	defer c.wire.release() // this call has the turn, so nobody reads
	if ctx.Err() != nil {
		return c.kill(fmt.Errorf("varlink: call cancelled: %w", context.Cause(ctx)))
	}
	if errors.Is(err, io.EOF) || isHangup(err) || errors.Is(err, net.ErrClosed) {
		return c.kill(fmt.Errorf("%w: %w", ErrClosed, err))
	}
	return c.kill(err)
}

// wireError marks an error of the connection.
type wireError struct{ error }

func (e wireError) Unwrap() error { return e.error }

func isWireError(err error) bool {
	_, ok := errors.AsType[wireError](err)
	return ok
}

// kill makes the connection unusable, and returns err.
func (c *Client) kill(err error) error {
	c.mu.Lock()
	if c.dead == nil {
		c.dead = ErrClosed
	}
	c.setFiles(nil)
	c.mu.Unlock()
	_ = c.wire.close() // given up
	return err
}

// receive reads a reply; an error reply is an error.
func (c *Client) receive() (replyEnvelope, error) {
	message, files, err := c.wire.readMessage()
	if err != nil {
		return replyEnvelope{}, wireError{err}
	}
	c.mu.Lock()
	c.setFiles(files)
	c.mu.Unlock()
	r, err := parseReply(message)
	if err != nil {
		return r, wireError{err}
	}
	if r.err == "" {
		return r, nil
	}
	reply := &ReplyError{Name: r.err, Parameters: jsontext.Value(r.parameters).Clone()}
	return r, DecodeErrors(reply, serviceErrors)
}

// setFiles replaces the descriptors of the newest reply; a dead client keeps none. The caller holds c.mu.
func (c *Client) setFiles(files []int) {
	closeFiles(c.files)
	c.files = files
	if c.dead != nil {
		closeFiles(files)
		c.files = nil
	}
}

func (c *Client) setStreaming(streaming bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streaming = streaming
}
