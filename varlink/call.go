package varlink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Call is a call that a handler answers. It is valid until the handler returns. Its methods may be used by one goroutine
// at a time, but for those that only ask, which any may use.
type Call struct {
	conn *serverConn
	envelope
	target *target
	ctx    callContext
	cancel context.CancelCauseFunc

	upgraded *UpgradedConn // after Upgrade

	// mu guards what follows; it is held while a reply is written, so that replies of several goroutines do not mix.
	mu      sync.Mutex
	files   []int      // received; -1: taken
	push    []*os.File // for the next reply
	outbox  *outbox    // for replies that others follow; nil before the first
	replied bool       // the last reply is out
	last    bool       // the connection ends with this call
}

// callContext is a handler's context.
type callContext struct {
	context.Context
	call *Call
}

type callKey struct{}

// Value finds the call, besides what the parent has.
func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c.call
	}
	return c.Context.Value(key)
}

// CallFrom returns the call that a handler's context belongs to, nil if ctx is not a handler's.
func CallFrom(ctx context.Context) *Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	return c
}

// Method is the full name of the method: io.example.greeter.Greet.
func (c *Call) Method() string { return c.envelope.method }

// Parameters is the JSON object of the parameters, {} when there were none. It must not be changed, nor kept after the
// handler has returned.
func (c *Call) Parameters() []byte { return c.parameters }

// WantsMore says whether the client takes several replies.
func (c *Call) WantsMore() bool { return c.more }

// WantsUpgrade says whether the client wants the connection for another protocol.
func (c *Call) WantsUpgrade() bool { return c.upgrade }

// Oneway says whether the client takes no reply; all replies and errors of the handler are dropped then.
func (c *Call) Oneway() bool { return c.oneway }

// Peer is who calls.
func (c *Call) Peer() Peer { return c.conn.peer }

// ReadOnlySocket says whether the call came over a socket that was served with ReadOnly.
func (c *Call) ReadOnlySocket() bool { return c.conn.readOnly }

// AbstractSocket says whether the call came over a socket with an abstract address. Such a one has no mode: everybody on
// the host can connect to it, and whoever is in a container that shares the host's network.
func (c *Call) AbstractSocket() bool { return c.conn.abstract }

// MethodIsReadOnly says whether the method is marked as ReadOnly.
func (c *Call) MethodIsReadOnly() bool { return c.target.ReadOnly }

// Decode puts the parameters, which have been checked against the interface description, into a structure. An error is
// an *InvalidParameterError: the structure does not fit the description.
func (c *Call) Decode(in any) error {
	if err := json.Unmarshal(c.parameters, in); err != nil {
		name := "parameters"
		if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
			name = semantic.JSONPointer.LastToken()
		}
		return fmt.Errorf("%w: %w", &InvalidParameterError{Parameter: name}, err)
	}
	return nil
}

// TakeFile gives the descriptor with this index to the caller, who closes it. The error, if there is none or it has been
// taken, is an *InvalidParameterError for the parameter.
func (c *Call) TakeFile(index int64, parameter string) (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := takeFile(c.files, index)
	if f == nil {
		return nil, &InvalidParameterError{Parameter: parameter}
	}
	return f, nil
}

// takeFile makes a file of the descriptor at index, nil if there is none or it was taken.
func takeFile(files []int, index int64) *os.File {
	if index < 0 || index >= int64(len(files)) || files[index] < 0 {
		return nil
	}
	fd := files[index]
	files[index] = -1
	return os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", index))
}

// PushFile attaches a descriptor to the next reply, and returns the index by which that reply names it. The call owns f
// from now on and closes it, whether or not the reply is ever sent.
func (c *Call) PushFile(f *os.File) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push = append(c.push, f)
	return int64(len(c.push) - 1)
}

// Reply sends the last reply. out encodes to a JSON object; nil is {}. The error is ErrReplied after a last reply, a
// *LimitError when the reply is too large, in which case nothing was sent and another reply may be tried, ErrHangup when the
// client has gone, and otherwise what broke the connection.
func (c *Call) Reply(out any) error { return c.send("", out, false) }

// ReplyContinues sends a reply that others follow, with the errors of Reply. It need not be written when the method returns:
// replies that come faster than they can be written go out together, and an error may be that of an earlier reply. When the
// client does not read, the method waits, for WriteTimeout at most. Without more it sends nothing.
func (c *Call) ReplyContinues(out any) error { return c.send("", out, true) }

// send sends a reply or, with a name, an error.
func (c *Call) send(name string, out any, continues bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := c.push
	c.push = nil
	defer closeAll(files)
	switch {
	case c.replied:
		return ErrReplied
	case c.upgraded != nil && (continues || c.upgraded.finished.Load()):
		return nil
	case errors.Is(context.Cause(c.ctx.Context), ErrHangup):
		c.last = true
		return ErrHangup
	case c.oneway || continues && !c.more:
		c.replied = !continues
		return nil
	}
	b := newMessage()
	defer b.put()
	if err := b.reply(name, out, continues); err != nil {
		return err
	}
	if most := c.conn.wire.limits.message; b.Len()-1 > most {
		return &LimitError{Limit: "MaxMessageSize", Value: int64(most)}
	}
	if c.upgraded != nil {
		c.upgraded.stop()
		_ = c.conn.wire.conn.SetDeadline(time.Time{}) // whoever interrupted reads meant those
	}
	if err := c.post(b.Bytes(), files, continues); err != nil {
		c.last = true
		return err
	}
	c.replied = !continues
	c.last = c.upgraded != nil || c.replied && c.upgrade && name == "" // what follows is not for us
	return nil
}

// post writes a message after those before it, or lets the outbox do so. The caller holds c.mu.
func (c *Call) post(message []byte, files []*os.File, continues bool) error {
	if continues && len(files) == 0 {
		if c.outbox == nil {
			c.outbox = newOutbox(func(batch []byte) error { return c.write(batch, nil) })
		}
		return c.outbox.put(message)
	}
	if err := c.outbox.drain(); err != nil {
		return err
	}
	return c.write(message, files)
}

// write writes messages. When that fails it ends the call's context.
func (c *Call) write(messages []byte, files []*os.File) error {
	err := c.conn.wire.write(messages, files, c.conn.server.writeTimeout())
	if err == nil {
		return nil
	}
	if isHangup(err) {
		err = ErrHangup
	}
	err = fmt.Errorf("varlink: reply: %w", err)
	c.cancel(err)
	c.conn.logEnd(err)
	return err
}

// run finds the method, checks the call, and answers it.
func (c *Call) run() {
	err := c.route()
	if err == nil {
		err = c.check()
	}
	if err == nil {
		err = c.invoke()
	}
	c.conclude(err)
}

// check is everything that must hold before the handler runs.
func (c *Call) check() error {
	if c.conn.readOnly && !c.target.ReadOnly {
		return &PermissionDeniedError{}
	}
	if authorize := c.conn.server.Authorize; authorize != nil && !c.target.service {
		if err := authorize(&c.ctx, c); err != nil {
			return err
		}
	}
	if c.target.Handle == nil {
		return &MethodNotImplementedError{Method: c.Method()}
	}
	if c.target.More == MoreRequired && !c.more {
		return &ExpectedMoreError{}
	}
	if invalid := c.target.in.validate(c.parameters, len(c.files)); invalid != nil {
		return invalid
	}
	return nil
}

// invoke runs the handler and makes an error of its panic.
func (c *Call) invoke() (err error) {
	defer func() {
		if v := recover(); v != nil {
			stack := debug.Stack()
			c.conn.server.logger().Errorf("%s: panic: %v\n%s", c.Method(), v, stack)
			err = &PanicError{Value: v, Stack: stack}
		}
	}()
	return c.target.Handle(&c.ctx, c)
}

// conclude sends the reply for what the handler returned.
func (c *Call) conclude(err error) {
	c.mu.Lock()
	if c.outbox.drain() != nil {
		c.last = true
	}
	replied, last := c.replied, c.last
	c.mu.Unlock()
	switch {
	case c.upgraded != nil && !replied && err != nil:
		c.replyError(err)
		return
	case last:
		return
	case err == nil && (replied || c.oneway):
		return
	case replied && c.oneway:
		return
	case replied:
		c.fail(fmt.Errorf("%s: error after the reply: %w", c.Method(), err))
		return
	case err == nil:
		err = errNoReply
	}
	c.replyError(err)
}

// replyError answers with an error that has a name on the wire, or closes the connection.
func (c *Call) replyError(err error) {
	named, ok := errors.AsType[Error](err)
	if !ok && c.conn.server.InternalError != nil && !errors.Is(context.Cause(c.ctx.Context), ErrHangup) {
		named, _ = errors.AsType[Error](c.conn.server.InternalError(c, err))
	}
	if named == nil {
		if !c.oneway {
			c.fail(fmt.Errorf("%s: %w", c.Method(), err))
		}
		return
	}
	if err := c.send(named.VarlinkError(), named, false); err != nil {
		c.fail(fmt.Errorf("%s: %w", c.Method(), err))
	}
}

// fail ends the connection after this call.
func (c *Call) fail(err error) {
	c.mu.Lock()
	c.last = true
	c.mu.Unlock()
	if !errors.Is(err, ErrHangup) {
		c.conn.server.logger().Errorf("closing connection: %v", err)
	}
}

// release closes the descriptors that are left.
func (c *Call) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	closeFiles(c.files)
	closeAll(c.push)
	c.files, c.push = nil, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // sent, or not wanted: its content is not ours
	}
}

// quoted is a string as JSON.
func quoted(s string) []byte {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return []byte(`""`)
	}
	return b
}
