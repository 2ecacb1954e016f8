package varlink_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/varlinktest"
	"golang.org/x/sys/unix"
)

// patience bounds what a test waits for; it passes only when something is broken.
const patience = 10 * time.Second

// peer is a client that sends and receives exactly what a test says.
type peer struct {
	*net.UnixConn
	t testing.TB
	r *bufio.Reader
}

func newPeer(t testing.TB, conn *net.UnixConn) *peer {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &peer{conn, t, bufio.NewReader(conn)}
}

// connect returns a peer that s serves.
func connect(t testing.TB, s *varlink.Server) *peer {
	t.Helper()
	return newPeer(t, varlinktest.Connect(t, s))
}

// dial returns a peer at an address.
func dial(t testing.TB, address string) *peer {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return newPeer(t, conn.(*net.UnixConn))
}

// send writes messages, each with its NUL.
func (p *peer) send(messages ...string) {
	p.t.Helper()
	if _, err := p.Write([]byte(strings.Join(messages, "\x00") + "\x00")); err != nil {
		p.t.Fatal(err)
	}
}

// sendFiles sends one message with descriptors, which it closes.
func (p *peer) sendFiles(message string, files ...*os.File) {
	p.t.Helper()
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	if _, _, err := p.WriteMsgUnix([]byte(message+"\x00"), unix.UnixRights(fds...), nil); err != nil {
		p.t.Fatal(err)
	}
	for _, f := range files {
		if err := f.Close(); err != nil {
			p.t.Error(err)
		}
	}
}

// receive reads a message.
func (p *peer) receive() string {
	p.t.Helper()
	message, err := p.r.ReadString(0)
	if err != nil {
		p.t.Fatalf("read: %v after %q", err, message)
	}
	return strings.TrimSuffix(message, "\x00")
}

// expect reads messages and compares them.
func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := p.receive(); got != w {
			p.t.Errorf("got  %s\nwant %s", got, w)
		}
	}
}

// expectClosed checks that the server has closed the connection without another message.
func (p *peer) expectClosed() {
	p.t.Helper()
	rest, err := io.ReadAll(p.r)
	if err != nil && !errors.Is(err, unix.ECONNRESET) || len(rest) > 0 {
		p.t.Errorf("want a closed connection, got %q, %v", rest, err)
	}
}

// call is the text of a call; flags are names of flags to set.
func call(method, parameters string, flags ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"method":"%s.%s","parameters":%s`, testInterface, method, parameters)
	for _, f := range flags {
		fmt.Fprintf(&b, `,%q:true`, f)
	}
	return b.String() + "}"
}

const emptyReply = `{"parameters":{}}`

func invalid(parameter string) string {
	return fmt.Sprintf(`{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":%q}}`, parameter)
}

// logBuffer is a Logger that keeps what it is told.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Debugf(format string, args ...any) { l.logf("debug: "+format, args...) }
func (l *logBuffer) Warnf(format string, args ...any)  { l.logf("warning: "+format, args...) }
func (l *logBuffer) Errorf(format string, args ...any) { l.logf("error: "+format, args...) }

func (l *logBuffer) logf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.buf, format+"\n", args...)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// receiveWithin fails the test when nothing comes.
func receiveWithin[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing happened", what)
		panic("unreachable")
	}
}
