package varlink_test

// The faults of github.com/varlink/go v0.4.0, by their numbers in the table that this package was built from, and the proof
// that each is made good here.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/varlinktest"
)

func TestFault01MessageWithoutEndIsBounded(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.MaxMessageSize = 1 << 20
	p := connect(t, s)
	junk := []byte(`{"method":"` + strings.Repeat("x", 1<<16))
	sent := 0
	for sent < 40<<20 {
		n, err := p.Write(junk)
		sent += n
		if err != nil {
			break
		}
	}
	if sent >= 4<<20 {
		t.Errorf("the server took %d bytes of one message", sent)
	}
}

func TestFault02VanishedClientIsNoticed(t *testing.T) { // not parallel: it measures
	started, ended := make(chan struct{}), make(chan error, 1)
	p := connect(t, newServer(t, func(ctx context.Context, _ *varlink.Call) error {
		close(started)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	}))
	p.send(call("Run", `{}`))
	receiveWithin(t, started, "call")
	begin := time.Now()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if cause := receiveWithin(t, ended, "hang-up"); !errors.Is(cause, varlink.ErrHangup) {
		t.Errorf("cause: %v", cause)
	}
	if took := time.Since(begin); took > 100*time.Millisecond {
		t.Errorf("noticed after %v", took)
	}
}

func TestFault03StalledReaderIsDropped(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	s := newServer(t, func(ctx context.Context, c *varlink.Call) error {
		for {
			if err := c.ReplyContinues(textBody{strings.Repeat("x", 10_000)}); err != nil {
				ended <- context.Cause(ctx)
				return err
			}
		}
	})
	s.WriteTimeout = 20 * time.Millisecond
	p := connect(t, s)
	p.send(call("Watch", `{}`, "more"))
	if cause := receiveWithin(t, ended, "write timeout"); !errors.Is(cause, os.ErrDeadlineExceeded) {
		t.Errorf("cause: %v", cause)
	}
	rest, err := io.ReadAll(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(rest) == 0 || strings.Contains(string(rest), "error") {
		t.Errorf("after a torn message nothing may follow")
	}
}

func TestFault04LimitsAndPanics(t *testing.T) {
	t.Parallel()
	var log logBuffer
	s := newServer(t, func(context.Context, *varlink.Call) error { panic("oh dear") })
	s.MaxConnections = 2
	s.Log = &log
	s.InternalError = func(_ *varlink.Call, err error) error {
		var p *varlink.PanicError
		if !errors.As(err, &p) || !strings.Contains(string(p.Stack), "TestFault04") {
			t.Errorf("got %v", err)
		}
		return &broken{err.Error()}
	}
	address := varlinktest.Listen(t, s)
	first, second := dial(t, address), dial(t, address)
	for _, p := range []*peer{first, second} {
		p.send(call("Run", `{}`), call("Empty", `{}`))
		p.expect(`{"error":"io.example.test.Broken","parameters":{"reason":"panic: oh dear"}}`, emptyReply)
	}
	dial(t, address).expectClosed()
	if !strings.Contains(log.String(), "oh dear") || !strings.Contains(log.String(), "TestFault04") {
		t.Errorf("the log lacks the panic or its stack: %s", &log)
	}
}

// Fault 5, an accept error that ends the server, is TestFault05AcceptErrorsAreWaitedFor in descriptors_test.go.

func TestFault06Lifecycle(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	s := newServer(t, func(ctx context.Context, c *varlink.Call) error {
		close(started)
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), varlink.ErrServerClosed) {
			t.Errorf("cause: %v", context.Cause(ctx))
		}
		return &broken{"stopped"}
	})
	address := varlinktest.Listen(t, s)
	idle, running := dial(t, address), dial(t, address)
	idle.send(call("Empty", `{}`))
	idle.expect(emptyReply)
	running.send(call("Run", `{}`))
	receiveWithin(t, started, "call")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	running.expect(`{"error":"io.example.test.Broken","parameters":{"reason":"stopped"}}`)
	running.expectClosed()
	idle.expectClosed()
	if _, err := net.Dial("unix", strings.TrimPrefix(address, "unix:")); err == nil {
		t.Error("still listening")
	}
	_, b := varlinktest.Pair(t)
	if err := s.ServeConn(b); !errors.Is(err, varlink.ErrServerClosed) {
		t.Errorf("ServeConn after Shutdown: %v", err)
	}
}

func TestFault07PeerAndDescriptors(t *testing.T) {
	t.Parallel()
	peers := make(chan varlink.Peer, 1)
	c := varlinktest.NewClient(t, newServer(t, func(ctx context.Context, c *varlink.Call) error {
		peers <- varlink.CallFrom(ctx).Peer()
		return c.Reply(nil)
	}))
	if err := c.Call(t.Context(), testInterface+".Run", nil, nil); err != nil {
		t.Fatal(err)
	}
	want := varlink.Peer{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), PID: int32(os.Getpid())}
	if got := receiveWithin(t, peers, "call"); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var content contentBody
	in := descriptorBody{c.PushFile(pipeWith(t, "through a pipe"))}
	if err := c.Call(t.Context(), testInterface+".ReadFile", in, &content); err != nil || content.Content != "through a pipe" {
		t.Errorf("got %q, %v", content.Content, err)
	}
}

// Fault 8, activation, is in activation_test.go.

func TestFault09NoParameters(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil))
	p.send(`{"method":"io.example.test.Check"}`, `{"method":"io.example.test.Check","parameters":null}`, call("Check", `{}`))
	p.expect(emptyReply, emptyReply, emptyReply)
}

func TestFault10ParametersAreChecked(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil)) // all kinds of them in TestParameters
	p.send(call("Echo", `{"text":"a","more":1}`), call("Echo", `{}`), call("Check", `{"color":"x"}`), call("Echo", `{"Text":"a"}`))
	p.expect(invalid("more"), invalid("text"), invalid("color"), invalid("Text"))
}

func TestFault11ServiceErrorsCanBeSent(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.Authorize = func(_ context.Context, c *varlink.Call) error {
		if c.Method() == testInterface+".Echo" {
			return &varlink.PermissionDeniedError{}
		}
		return nil
	}
	p := connect(t, s)
	p.send(call("Watch", `{}`), call("Echo", `{"text":""}`), call("Missing", `{}`), call("Watch", `{}`, "oneway"),
		call("Echo", `{"text":""}`, "oneway"), call("Missing", `{}`, "oneway"), call("Nonsense", `{}`, "oneway"))
	p.send(`{"method":"org.varlink.service.GetInfo","oneway":true}`, `{"method":"io.nobody.Has","oneway":true}`, call("Empty", `{}`))
	p.expect(`{"error":"org.varlink.service.ExpectedMore","parameters":{}}`,
		`{"error":"org.varlink.service.PermissionDenied","parameters":{}}`,
		`{"error":"org.varlink.service.MethodNotImplemented","parameters":{"method":"io.example.test.Missing"}}`,
		emptyReply)
}

func TestFault12ServiceInterface(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil))
	p.send(`{"method":"org.varlink.service.GetInfo"}`)
	p.expect(`{"parameters":{"vendor":"Example","product":"Test","version":"1","url":"https://example.com",` +
		`"interfaces":["io.example.test","org.varlink.service"]}}`)
	for method, want := range map[string]string{
		"org.varlink.service.Nonsense": `{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"org.varlink.service.Nonsense"}}`,
		"io.example.test.Nonsense":     `{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"io.example.test.Nonsense"}}`,
		"io.example.other.Empty":       `{"error":"org.varlink.service.InterfaceNotFound","parameters":{"interface":"io.example.other"}}`,
		"io.example.<other>.Empty":     `{"error":"org.varlink.service.InterfaceNotFound","parameters":{"interface":"io.example.<other>"}}`,
		"Empty":                        invalid("method"),
		".Empty":                       invalid("method"),
	} {
		p.send(fmt.Sprintf(`{"method":%q}`, method))
		p.expect(want)
	}
	description := func(name string) string {
		p.send(fmt.Sprintf(`{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":%q}}`, name))
		return p.receive()
	}
	if got, want := description("io.example.other"),
		`{"error":"org.varlink.service.InterfaceNotFound","parameters":{"interface":"io.example.other"}}`; got != want {
		t.Errorf("got %s", got)
	}
	for _, name := range []string{
		"InterfaceNotFound", "MethodNotFound", "MethodNotImplemented", "InvalidParameter",
		"PermissionDenied", "ExpectedMore", "ExpectedUpgrade",
	} {
		if !strings.Contains(description("org.varlink.service"), "error "+name) {
			t.Errorf("the description lacks %s", name)
		}
	}
}

func TestFault13EmptyThingsAndHTML(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil))
	p.send(call("Lists", `{}`))
	p.expect(`{"parameters":{"list":[],"dictionary":{},"text":"<&>"}}`)
}

func TestFault14UpgradeKeepsBufferedBytes(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil))
	if _, err := p.Write([]byte(call("Shout", `{"greeting":"hi"}`, "upgrade") + "\x00early ")); err != nil {
		t.Fatal(err)
	}
	p.expect(`{"parameters":{"greeting":"hi"}}`)
	if _, err := p.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	if err := p.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(p.r); err != nil || string(rest) != "EARLY LATE" {
		t.Errorf("got %q, %v", rest, err)
	}
}

func TestFault15ClientIsDeadAfterAWireError(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"not JSON":                  "nonsense\x00",
		"continues without more":    `{"continues":true}` + "\x00",
		"parameters are not object": `{"parameters":1}` + "\x00",
		"end of file":               "",
		"cut short":                 `{"par`,
	} {
		a, b := varlinktest.Pair(t)
		if _, err := b.Write([]byte(reply)); err != nil {
			t.Fatal(err)
		}
		if err := b.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c := varlink.NewClient(a)
		if err := c.Call(t.Context(), "a.b.C", nil, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := c.Call(t.Context(), "a.b.C", nil, nil); !errors.Is(err, varlink.ErrClosed) {
			t.Errorf("%s: second call: %v", name, err)
		}
	}
	// A reply that does not fit the caller's type is the caller's error, and told to it.
	a, b := varlinktest.Pair(t)
	if _, err := b.Write([]byte("{\"parameters\":{\"text\":1}}\x00{\"parameters\":{\"text\":\"a\"}}\x00")); err != nil {
		t.Fatal(err)
	}
	c := varlink.NewClient(a)
	var out textBody
	if err := c.Call(t.Context(), "a.b.C", nil, &out); err == nil {
		t.Error("a number was decoded as a string")
	}
}

func TestFault15ClientTimeoutEndsTheConnection(t *testing.T) {
	t.Parallel()
	c := varlinktest.NewClient(t, newServer(t, func(ctx context.Context, c *varlink.Call) error {
		<-ctx.Done()
		return c.Reply(nil)
	}))
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("enough"))
	defer cancel()
	err := c.Call(ctx, testInterface+".Run", nil, nil)
	if err == nil || !cmp.Equal(err.Error(), "varlink: call cancelled: enough") {
		t.Errorf("got %v", err)
	}
	if err := c.Call(t.Context(), testInterface+".Empty", nil, nil); !errors.Is(err, varlink.ErrClosed) {
		t.Errorf("second call: %v", err)
	}
}

func TestListenRefusesALiveSocketAndReplacesAStaleOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "below", "socket")
	address := "unix:" + path
	l, err := varlink.Listen(address, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	if mode := modeOf(t, path); mode != 0o660 {
		t.Errorf("socket has mode %o", mode)
	}
	if mode := modeOf(t, filepath.Dir(path)); mode != 0o700 {
		t.Errorf("directory has mode %o", mode)
	}
	if _, err := varlink.Listen(address, 0o600); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("second listener: %v", err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := varlink.Listen(address, 0o600)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := varlink.Listen(address, 0o600); err == nil {
		t.Error("a file was replaced by a socket")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", path); err != nil {
		t.Fatal(err)
	}
	if _, err := varlink.Listen(address, 0o600); err == nil {
		t.Error("a symbolic link was replaced by a socket")
	}
}

func TestListenAddresses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "/path", "unix:", "unix:@", "tcp:127.0.0.1:1", "unix:/" + strings.Repeat("x", 200)} {
		if _, err := varlink.Listen(bad, 0o600); err == nil {
			t.Errorf("%q was accepted", bad)
		}
		if _, err := varlink.Dial(t.Context(), bad); err == nil {
			t.Errorf("%q was dialled", bad)
		}
	}
	s := newServer(t, nil)
	address := fmt.Sprintf("unix:@varlink-test-%d", os.Getpid())
	l, err := varlink.Listen(address, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c, err := varlink.Dial(t.Context(), address+";mode=0600")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), testInterface+".Empty", nil, nil); err != nil {
		t.Error(err)
	}
	if err := errors.Join(c.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if err := receiveWithin(t, done, "Serve"); !errors.Is(err, varlink.ErrServerClosed) {
		t.Error(err)
	}
}

// shortDir is a temporary directory whose path fits into a socket's address.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "v")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func modeOf(t testing.TB, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}
