package varlink_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/varlinktest"
)

func TestHalfClosedClientGetsItsReply(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, func(ctx context.Context, c *varlink.Call) error {
		select {
		case <-ctx.Done():
			return &broken{context.Cause(ctx).Error()}
		case <-time.After(50 * time.Millisecond): // long enough to be watched
			return c.Reply(nil)
		}
	}))
	p.send(call("Run", `{}`))
	if err := p.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	p.expect(emptyReply)
	p.expectClosed()
}

func TestHangupAfterHalfClose(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	p := connect(t, newServer(t, func(ctx context.Context, c *varlink.Call) error {
		if err := c.ReplyContinues(nil); err != nil {
			return err
		}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return c.Reply(nil)
	}))
	p.send(call("Watch", `{}`, "more"))
	if err := p.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	p.expect(`{"parameters":{},"continues":true}`)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receiveWithin(t, ended, "hang-up"); !errors.Is(err, varlink.ErrHangup) {
		t.Errorf("cause: %v", err)
	}
}

func TestHangupInAStreamIsAnErrorOfSend(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	p := connect(t, newServer(t, func(ctx context.Context, c *varlink.Call) error {
		for {
			if err := c.ReplyContinues(textBody{strings.Repeat("x", 1000)}); err != nil {
				ended <- err
				if !errors.Is(context.Cause(ctx), varlink.ErrHangup) {
					t.Errorf("cause: %v", context.Cause(ctx))
				}
				return err
			}
		}
	}))
	p.send(call("Watch", `{}`, "more"))
	p.receive()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receiveWithin(t, ended, "hang-up"); !errors.Is(err, varlink.ErrHangup) {
		t.Errorf("error of send: %v", err)
	}
}

// A call that was watched leaves the connection as it was.
func TestCallsAfterALongOne(t *testing.T) {
	t.Parallel()
	c := varlinktest.NewClient(t, newServer(t, func(ctx context.Context, c *varlink.Call) error {
		<-time.After(15 * time.Millisecond) // long enough to be watched
		return c.Reply(nil)
	}))
	for range 5 {
		for _, method := range []string{"Run", "Empty"} {
			if err := c.Call(t.Context(), testInterface+"."+method, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestContextEndsWithTheCall(t *testing.T) {
	t.Parallel()
	contexts := make(chan context.Context, 1)
	c := varlinktest.NewClient(t, newServer(t, func(ctx context.Context, c *varlink.Call) error {
		if varlink.CallFrom(ctx) != c || varlink.CallFrom(context.WithoutCancel(ctx)) != c {
			t.Error("CallFrom does not find the call")
		}
		contexts <- ctx
		return c.Reply(nil)
	}))
	if err := c.Call(t.Context(), testInterface+".Run", nil, nil); err != nil {
		t.Fatal(err)
	}
	receiveWithin(t, (<-contexts).Done(), "end of the context")
	if varlink.CallFrom(t.Context()) != nil {
		t.Error("CallFrom finds a call outside of one")
	}
}

func TestLeavingAStreamEndsTheCall(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	c := varlinktest.NewClient(t, newServer(t, func(ctx context.Context, c *varlink.Call) error {
		if err := c.ReplyContinues(numberBody{1}); err != nil {
			return err
		}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil
	}))
	for r, err := range c.Stream(t.Context(), testInterface+".Watch", nil) {
		if err != nil || !r.Continues || string(r.Parameters) != `{"number":1}` {
			t.Fatalf("got %+v, %v", r, err)
		}
		if err := c.Call(t.Context(), testInterface+".Empty", nil, nil); !errors.Is(err, varlink.ErrStreaming) {
			t.Errorf("call within a stream: %v", err)
		}
		break
	}
	if err := receiveWithin(t, ended, "hang-up"); !errors.Is(err, varlink.ErrHangup) {
		t.Errorf("cause: %v", err)
	}
	if err := c.Call(t.Context(), testInterface+".Empty", nil, nil); !errors.Is(err, varlink.ErrClosed) {
		t.Errorf("call after an abandoned stream: %v", err)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	c := varlinktest.NewClient(t, newServer(t, nil))
	collect := func(in any, method string) (numbers []string, last error) {
		for r, err := range c.Stream(t.Context(), testInterface+"."+method, in) {
			if last = err; err == nil {
				numbers = append(numbers, string(r.Parameters))
			}
		}
		return numbers, last
	}
	if numbers, err := collect(countIn{3}, "Count"); err != nil || len(numbers) != 4 || numbers[3] != `{"number":3}` {
		t.Errorf("got %v, %v", numbers, err)
	}
	var invalid *varlink.InvalidParameterError
	if _, err := collect(nil, "Count"); !errors.As(err, &invalid) || invalid.Parameter != "upTo" {
		t.Errorf("got %v", err)
	}
	var expected *varlink.ExpectedMoreError
	if err := c.Call(t.Context(), testInterface+".Watch", nil, nil); !errors.As(err, &expected) {
		t.Errorf("got %v", err)
	}
	var one numberBody
	if err := c.Call(t.Context(), testInterface+".Count", countIn{3}, &one); err != nil || one.Number != 3 {
		t.Errorf("without more: %+v, %v", one, err)
	}
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	c := varlinktest.NewClient(t, newServer(t, nil))
	var out greetingBody
	if err := c.Call(t.Context(), testInterface+".Shout", greetingBody{"a"}, &out); !errors.As(err, new(*varlink.ExpectedUpgradeError)) {
		t.Errorf("without upgrade: %v", err)
	}
	if _, err := c.Upgrade(t.Context(), testInterface+".Shout", nil, &out); !errors.As(err, new(*varlink.InvalidParameterError)) {
		t.Errorf("without parameters: %v", err)
	}
	conn, err := c.Upgrade(t.Context(), testInterface+".Shout", greetingBody{"hello"}, &out)
	if err != nil || out.Greeting != "hello" {
		t.Fatalf("got %+v, %v", out, err)
	}
	if err := c.Call(t.Context(), testInterface+".Empty", nil, nil); !errors.Is(err, varlink.ErrClosed) {
		t.Errorf("call after an upgrade: %v", err)
	}
	if _, err := conn.Write([]byte("louder\x00")); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "LOUDER\x00" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// A server may send raw bytes together with its reply: the client's buffer must not swallow them.
func TestUpgradeClientKeepsBufferedBytes(t *testing.T) {
	t.Parallel()
	a, b := varlinktest.Pair(t)
	if _, err := b.Write([]byte("{}\x00raw bytes")); err != nil {
		t.Fatal(err)
	}
	if err := b.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	conn, err := varlink.NewClient(a).Upgrade(t.Context(), "a.b.C", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "raw bytes" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestUpgradedConnectionEndsWithServerAndClient(t *testing.T) {
	t.Parallel()
	ended, started := make(chan error, 1), make(chan struct{}, 1)
	handler := func(ctx context.Context, c *varlink.Call) error {
		conn, err := c.Upgrade(nil)
		if err != nil {
			return err
		}
		started <- struct{}{}
		_, err = conn.Read(make([]byte, 1))
		ended <- errors.Join(err, context.Cause(ctx))
		return nil
	}
	s := newServer(t, handler)
	p := connect(t, s)
	p.send(call("Run", `{}`, "upgrade"))
	p.expect(emptyReply)
	receiveWithin(t, started, "upgrade")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receiveWithin(t, ended, "hang-up"); !errors.Is(err, varlink.ErrHangup) {
		t.Errorf("hang-up: %v", err)
	}
	p = connect(t, s)
	p.send(call("Run", `{}`, "upgrade"))
	p.expect(emptyReply)
	receiveWithin(t, started, "upgrade")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := receiveWithin(t, ended, "shutdown"); !errors.Is(err, varlink.ErrServerClosed) {
		t.Errorf("shutdown: %v", err)
	}
}

// A method that knows nothing of upgrades answers, and the connection ends instead of taking raw bytes for calls.
func TestUpgradeOfAnOrdinaryMethod(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil))
	p.send(call("Empty", `{}`, "upgrade"), call("Empty", `{}`))
	p.expect(emptyReply)
	p.expectClosed()
}
