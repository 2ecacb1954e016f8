package varlink_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/varlinktest"
)

func TestConnectionsPerUID(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.MaxConnectionsPerUID = 1
	address := varlinktest.Listen(t, s)
	first := dial(t, address)
	first.send(call("Empty", `{}`))
	first.expect(emptyReply)
	dial(t, address).expectClosed()
	a, b := varlinktest.Pair(t)
	var limit *varlink.LimitError
	if err := s.ServeConn(b); !errors.As(err, &limit) || limit.Limit != "MaxConnectionsPerUID" || limit.Value != 1 {
		t.Errorf("ServeConn: %v", err)
	}
	newPeer(t, a).expectClosed()
}

// A client that has gone is no longer counted.
func TestConnectionsAreGivenBack(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.MaxConnections = 1
	for range 20 {
		a, b := varlinktest.Pair(t)
		p := newPeer(t, a)
		p.send(call("Empty", `{}`))
		if err := p.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := s.ServeConn(b); err != nil {
			t.Fatal(err)
		}
		p.expect(emptyReply)
		p.expectClosed()
	}
}

func TestReadTimeout(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.ReadTimeout = 20 * time.Millisecond
	p := connect(t, s)
	p.send(call("Empty", `{}`))
	p.expect(emptyReply)
	if _, err := p.Write([]byte(`{"method":`)); err != nil {
		t.Fatal(err)
	}
	p.expectClosed()
	// Between messages there is no limit.
	q := connect(t, s)
	<-time.After(40 * time.Millisecond)
	q.send(call("Empty", `{}`))
	q.expect(emptyReply)
}

func TestHandlersThatMisbehave(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		run     func(context.Context, *varlink.Call) error
		replies []string
		log     string
	}{
		"no reply":           {func(context.Context, *varlink.Call) error { return nil }, nil, "without a reply"},
		"unnamed error":      {func(context.Context, *varlink.Call) error { return errors.New("odd") }, nil, "odd"},
		"panic":              {func(context.Context, *varlink.Call) error { panic("ouch") }, nil, "ouch"},
		"reply is no object": {func(_ context.Context, c *varlink.Call) error { return c.Reply(1) }, nil, "int is not a JSON object"},
		"reply is no JSON":   {func(_ context.Context, c *varlink.Call) error { return c.Reply(struct{ C chan int }{}) }, nil, "parameters"},
		"error after reply": {func(_ context.Context, c *varlink.Call) error {
			return errors.Join(c.Reply(nil), errors.New("late"))
		}, []string{emptyReply}, "late"},
		"two replies": {func(_ context.Context, c *varlink.Call) error {
			return errors.Join(c.Reply(nil), c.Reply(nil))
		}, []string{emptyReply}, "answered already"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logBuffer
			s := newServer(t, test.run)
			s.Log = &log
			a, b := varlinktest.Pair(t)
			p := newPeer(t, a)
			p.send(call("Run", `{}`), call("Empty", `{}`))
			if err := s.ServeConn(b); err != nil {
				t.Errorf("ServeConn: %v", err)
			}
			p.expect(test.replies...)
			p.expectClosed()
			if !strings.Contains(log.String(), "error:") || !strings.Contains(log.String(), test.log) {
				t.Errorf("the log lacks %q: %s", test.log, &log)
			}
		})
	}
}

// The log must not show what a client sent: it may be a password.
func TestNothingOfACallIsLogged(t *testing.T) {
	t.Parallel()
	var log logBuffer
	s := newServer(t, func(context.Context, *varlink.Call) error { return errors.New("odd") })
	s.Log = &log
	for _, message := range []string{
		call("Echo", `{"text":"s3cret"}`), call("Echo", `{"s3cret":1}`), call("Run", `{}`), `{"s3cret"}`, `s3cret`,
		`{"method":"io.example.test.Echo","parameters":{"text":"s3cret","text":"s3cret"}}`,
		`{"method":"io.example.test.Echo","parameters":"s3cret"}`, `{"s3cret":1}`, `{"method":"io.example.test.Echo","more":"s3cret"}`,
	} {
		a, b := varlinktest.Pair(t)
		p := newPeer(t, a)
		p.send(message)
		if err := p.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := s.ServeConn(b); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(log.String(), "s3cret") {
		t.Errorf("the log has a secret: %s", &log)
	}
}

func TestReadOnlySocket(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(ctx context.Context, c *varlink.Call) error {
		if !c.ReadOnlySocket() || !c.MethodIsReadOnly() || !c.WantsMore() || c.WantsUpgrade() || c.Oneway() {
			t.Errorf("call: %+v", c)
		}
		return c.Reply(nil)
	})
	p := dial(t, varlinktest.Listen(t, s, varlink.ReadOnly()))
	p.send(call("Empty", `{}`), call("Echo", `{"text":""}`), call("Watch", `{}`, "more"), call("Missing", `{}`),
		`{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"a.b"}}`)
	denied := `{"error":"org.varlink.service.PermissionDenied","parameters":{}}`
	p.expect(emptyReply, denied, emptyReply, denied,
		`{"error":"org.varlink.service.InterfaceNotFound","parameters":{"interface":"a.b"}}`)
	q := dial(t, varlinktest.Listen(t, s))
	q.send(call("Echo", `{"text":""}`))
	q.expect(`{"parameters":{"text":""}}`)

	a, b := varlinktest.Pair(t)
	p = newPeer(t, a)
	p.send(call("Echo", `{"text":""}`))
	if err := p.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := s.ServeConn(b, varlink.ReadOnly()); err != nil {
		t.Error(err)
	}
	p.expect(denied)
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	started, stubborn := make(chan struct{}), make(chan struct{})
	s := newServer(t, func(_ context.Context, c *varlink.Call) error {
		close(started)
		<-stubborn
		return c.Reply(nil)
	})
	p := connect(t, s)
	p.send(call("Run", `{}`))
	receiveWithin(t, started, "call")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := s.Shutdown(ctx); err == nil || err.Error() != "enough" {
		t.Errorf("got %v", err)
	}
	p.expectClosed()
	close(stubborn)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("second Shutdown: %v", err)
	}
}

func TestCloseOfAZeroServer(t *testing.T) {
	t.Parallel()
	var s, other varlink.Server
	if err := errors.Join(s.Close(), s.Close(), other.Shutdown(t.Context())); err != nil {
		t.Error(err)
	}
	l, err := varlink.Listen("unix:"+shortDir(t)+"/socket", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !errors.Is(err, varlink.ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
	if err := l.Close(); err == nil {
		t.Error("Serve left its listener open")
	}
}

func TestServeEndsWithItsListener(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	l, err := varlink.Listen("unix:"+shortDir(t)+"/socket", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	p := dial(t, "unix:"+l.Addr().String())
	p.send(call("Empty", `{}`))
	p.expect(emptyReply)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receiveWithin(t, done, "Serve"); err == nil || errors.Is(err, varlink.ErrServerClosed) {
		t.Errorf("got %v", err)
	}
	p.send(call("Empty", `{}`)) // the connection goes on
	p.expect(emptyReply)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestIdleExit(t *testing.T) {
	t.Parallel()
	var busy atomic.Bool
	busy.Store(true)
	asked := make(chan struct{}, 100)
	s := newServer(t, nil)
	s.IdleTimeout = 20 * time.Millisecond
	s.Busy = func() bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		return busy.Load()
	}
	done := make(chan error, 2)
	var addresses []string
	for range 2 {
		l, err := varlink.Listen("unix:"+shortDir(t)+"/socket", 0o600)
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, "unix:"+l.Addr().String())
		go func() { done <- s.Serve(l) }()
	}
	receiveWithin(t, asked, "idle time with work")
	p := dial(t, addresses[1]) // still accepted
	p.send(call("Empty", `{}`))
	p.expect(emptyReply)
	busy.Store(false)
	select {
	case err := <-done:
		t.Fatalf("ended with a connection: %v", err)
	case <-time.After(60 * time.Millisecond):
	}
	p.send(call("Empty", `{}`))
	p.expect(emptyReply)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := receiveWithin(t, done, "idle exit"); !errors.Is(err, varlink.ErrIdle) {
			t.Errorf("got %v", err)
		}
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// Clients that come while the server makes up its mind are all answered, or never accepted.
func TestIdleExitLosesNobody(t *testing.T) {
	t.Parallel()
	for range 20 {
		s := newServer(t, nil)
		s.IdleTimeout = time.Millisecond
		l, err := varlink.Listen("unix:"+shortDir(t)+"/socket", 0o600)
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		keep, err := l.File() // as a service manager does: what is not accepted waits for the next server
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		answered := 0
		for ended := false; !ended; {
			c, err := varlink.Dial(t.Context(), "unix:"+l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			result := make(chan error, 1)
			go func() { result <- c.Call(ctx, testInterface+".Empty", nil, nil) }()
			select {
			case err := <-result:
				if err != nil {
					t.Errorf("after %d answers: %v", answered, err)
				}
				answered++
			case err := <-done:
				if ended = true; !errors.Is(err, varlink.ErrIdle) {
					t.Errorf("Serve: %v", err)
				}
				cancel()
				if err := <-result; !errors.Is(err, context.Canceled) {
					t.Errorf("the last client was accepted: %v", err)
				}
			}
			cancel()
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if answered%10 == 9 {
				<-time.After(s.IdleTimeout)
			}
		}
		if err := keep.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	handler := func(context.Context, *varlink.Call) error { return nil }
	for name, i := range map[string]varlink.Interface{
		"not an interface":  {Name: "a.b", Description: "hello"},
		"no method":         {Name: "a.b", Description: "interface a.b"},
		"other name":        {Name: "a.c", Description: "interface a.b\nmethod M() -> ()"},
		"undefined type":    {Name: "a.b", Description: "interface a.b\nmethod M(x: Nothing) -> ()"},
		"field twice":       {Name: "a.b", Description: "interface a.b\nmethod M(x: int, x: int) -> ()"},
		"type for a struct": {Name: "a.b", Description: "interface a.b\nmethod M int -> ()"},
		"renamed type":      {Name: "a.b", Description: "interface a.b\ntype T U\ntype U ()\nmethod M(x: T) -> ()"},
		"unknown method": {Name: "a.b", Description: "interface a.b\nmethod M() -> ()", Methods: map[string]varlink.Method{
			"N": {Handle: handler},
		}},
		"method swallowed by a bare comment": {
			Name: "a.b", Description: "interface a.b\nmethod M() -> ()\n#\nmethod N() -> ()",
			Methods: map[string]varlink.Method{"N": {Handle: handler}},
		},
		"no handler": {Name: "a.b", Description: "interface a.b\nmethod M() -> ()", Methods: map[string]varlink.Method{"M": {}}},
		"own":        {Name: varlink.ServiceInterface, Description: "interface org.varlink.service\nmethod M() -> ()"},
	} {
		if err := new(varlink.Server).Register(i); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s := newServer(t, nil)
	if err := s.Register(varlink.Interface{Name: testInterface, Description: testDescription}); err == nil {
		t.Error("registered twice")
	}
}

func TestManyIdleConnections(t *testing.T) {
	t.Parallel()
	address := varlinktest.Listen(t, newServer(t, nil))
	peers := make([]*peer, 400)
	for i := range peers {
		peers[i] = dial(t, address)
		peers[i].send(call("Empty", `{}`)) // one idle request each, read by nobody
	}
	for _, p := range peers {
		p.expect(emptyReply)
	}
}

func TestStalledReaderHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	address := varlinktest.Listen(t, s)
	stalled := dial(t, address)
	stalled.send(call("Count", `{"upTo":1000000}`, "more"))
	c, err := varlink.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := 0
	for _, err := range c.Stream(t.Context(), testInterface+".Count", countIn{5000}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 5001 {
		t.Errorf("%d replies", n)
	}
}

func TestMemoryOfIdleConnections(t *testing.T) { // not parallel: it measures
	const connections, most = 200, 20 << 10 // bytes, the client's end included
	address := varlinktest.Listen(t, newServer(t, nil))
	used := func() uint64 {
		var m runtime.MemStats
		for range 3 { // pools are emptied at the second collection
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := used()
	conns := make([]net.Conn, connections)
	message := []byte(call("Echo", `{"text":"`+strings.Repeat("x", 50_000)+`"}`) + "\x00")
	for i := range conns {
		p := dial(t, address)
		if _, err := p.Write(message); err != nil {
			t.Fatal(err)
		}
		p.receive() // the connection has seen a message of some size
		conns[i] = p.UnixConn
	}
	each := (max(used(), before) - before) / connections
	t.Logf("%d bytes a connection", each)
	if each > most {
		t.Errorf("an idle connection takes %d bytes, more than %d", each, most)
	}
	runtime.KeepAlive(conns)
}
