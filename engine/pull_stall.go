package engine

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"sync"
	"time"
)

// quietAfterAnswer is how long a call of the library may do nothing after an answer of the registry came before we
// suspect that it sleeps because the answer was 429: it does so for up to five minutes and tells nobody.
const quietAfterAnswer = 500 * time.Millisecond

// stalledError ends an attempt in which no byte came for too long.
type stalledError struct{ timeout time.Duration }

func (e *stalledError) Error() string { return fmt.Sprintf("no byte came for %s", e.timeout) }

// stallGuard ends an attempt when nothing comes from the other side any more.
type stallGuard struct {
	timeout time.Duration           // zero: never
	end     context.CancelCauseFunc // of the attempt
}

// timer returns a running timer that ends the attempt. Whoever sees a sign of life resets it to g.timeout.
func (g *stallGuard) timer() *time.Timer {
	if g.timeout == 0 {
		timer := time.NewTimer(0)
		timer.Stop()
		return timer
	}
	return time.AfterFunc(g.timeout, func() { g.end(&transferError{&stalledError{g.timeout}}) })
}

// do runs a call of the library that talks to a registry. Each answer is a sign of life. When an answer came and
// then nothing happens, suspect is called once, if it is not nil; its context ends with the call.
func (g *stallGuard) do(ctx context.Context, suspect func(context.Context), call func(context.Context) error) error {
	c := &guardedCall{guard: g, stall: g.timer()}
	flood := &floodWatch{end: g.end}
	defer flood.stop()
	if suspect != nil {
		inner, stop := context.WithCancel(ctx)
		defer c.helpers.Wait()
		defer stop()
		c.silence = time.AfterFunc(maxDuration, func() { c.ask(inner, suspect) })
		c.silence.Stop()
	}
	defer c.finish()
	return call(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { c.asked() }, GotConn: func(info httptrace.GotConnInfo) { flood.connected(info.Conn) }, GotFirstResponseByte: c.answered,
	}))
}

// guardedCall is a running call. Its hooks may be called after it has returned, by the reader that it opened.
type guardedCall struct {
	guard   *stallGuard
	helpers sync.WaitGroup

	mu      sync.Mutex // guards what follows
	over    bool
	stall   *time.Timer
	silence *time.Timer // nil: nobody to be told
}

// asked is called when the library sends a request.
func (c *guardedCall) asked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silence != nil {
		c.silence.Stop()
	}
}

// answered is called when an answer's first byte came.
func (c *guardedCall) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.stall.Reset(c.guard.timeout)
	if c.silence != nil {
		c.silence.Reset(quietAfterAnswer)
	}
}

// ask tells of the silence.
func (c *guardedCall) ask(ctx context.Context, suspect func(context.Context)) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.helpers.Add(1)
	c.silence = nil // once
	c.mu.Unlock()
	defer c.helpers.Done()
	suspect(ctx)
}

func (c *guardedCall) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.stall.Stop()
	if c.silence != nil {
		c.silence.Stop()
	}
}
