// Package varlinktest has what tests of Varlink services and clients need: connections without a file system, servers
// that end with their test, and a client that sends exactly the bytes it is told to.
//
// Only tests may import it. It imports package varlink, and, like net/http/httptest, package testing.
package varlinktest

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/imaged-project/imaged/varlink"
	"golang.org/x/sys/unix"
)

// stopTimeout is how long a server may take to end with its test.
const stopTimeout = 10 * time.Second

// Pair returns the two ends of a connection. They are closed with the test.
func Pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return end(t, fds[0]), end(t, fds[1])
}

func end(t testing.TB, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socketpair")
	defer func() { _ = f.Close() }() // the connection has its own copy
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.UnixConn)
}

// Connect returns the client's end of a connection that s serves; several tests may share s. With the test it is closed, and
// the test fails if the server does not let go of it soon.
func Connect(t testing.TB, s *varlink.Server) *net.UnixConn {
	t.Helper()
	client, server := Pair(t)
	done := make(chan error, 1)
	go func() { done <- s.ServeConn(server) }()
	t.Cleanup(func() {
		_ = client.Close()
		select {
		case <-done:
		case <-time.After(stopTimeout):
			t.Errorf("the server still serves a client that has gone")
		}
	})
	return client
}

// NewClient is Connect with a Client.
func NewClient(t testing.TB, s *varlink.Server) *varlink.Client {
	t.Helper()
	c := varlink.NewClient(Connect(t, s))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Listen serves s on a socket of its own and returns its address. The server is shut down with the test, which fails
// when that takes long or Serve ended in another way.
func Listen(t testing.TB, s *varlink.Server, opts ...varlink.ListenOption) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "varlink") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	address := "unix:" + filepath.Join(dir, "socket")
	l, err := varlink.Listen(address, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, opts...) }()
	t.Cleanup(func() {
		stop(t, s)
		if err := <-done; !errors.Is(err, varlink.ErrServerClosed) && !errors.Is(err, varlink.ErrIdle) {
			t.Errorf("Serve: %v", err)
		}
		_ = os.RemoveAll(dir)
	})
	return address
}

func stop(t testing.TB, s *varlink.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}
