package wire_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// served tells whether the daemon answers on a connection, or has closed it.
func served(t testing.TB, c *daemon.Conn) bool {
	t.Helper()
	if err := c.Send("io.systemd.service.Ping", ""); err != nil {
		return false
	}
	_, err := c.Read()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	return err == nil
}

// fill opens as many connections of a user as are served, and returns how many.
func fill(t testing.TB, path string, uid, most int) int {
	t.Helper()
	for n := range most {
		c, err := daemon.DialAs(t, path, uid)
		if err != nil {
			t.Fatal(err)
		}
		if !served(t, c) {
			_ = c.Close()
			return n
		}
	}
	return most
}

// TestCrowd has the true limits: 1,024 connections of one user, 4,096 in all.
func TestCrowd(t *testing.T) { // not parallel: it needs many descriptors
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < 10_000 {
		t.Skipf("only %d descriptors: %v", limit.Max, err)
	}
	w := newWorld(t)
	w.open(t)
	const perUser, all = 1024, 4096
	daemon.Await(t, "nobody is connected", func() bool { return w.Descriptors(t) < 100 })
	before := w.Memory(t)
	first := w.Dial(t)
	if n := fill(t, w.Socket, daemon.Nobody, perUser+1); n != perUser {
		t.Errorf("one user has %d connections, want %d", n, perUser)
	}
	// Another user, who was there before, is not held up.
	began := time.Now()
	wantPing(t, first)
	if took := time.Since(began); took > time.Second {
		t.Errorf("a call takes %s", took)
	}
	total := perUser + 1
	for uid := daemon.Nobody - 1; total < all; uid-- {
		n := fill(t, w.Socket, uid, min(perUser, all-total))
		if n == 0 {
			break
		}
		total += n
	}
	if total != all {
		t.Errorf("%d connections in all, want %d", total, all)
	}
	if served(t, w.Dial(t)) {
		t.Error("one more is served")
	}
	wantPing(t, first)
	if after := w.Memory(t); after > before+(256<<20) {
		t.Errorf("the daemon has grown from %d to %d MiB", before>>20, after>>20)
	}
}

func TestSmallerCrowd(t *testing.T) {
	t.Parallel()
	d := daemon.Start(t, daemon.Options{ReadOnly: true, Args: []string{"--limit", "varlink.connections=8", "--limit", "varlink.connectionsPerUid=3"}})
	if n := fill(t, d.ReadOnlySocket, daemon.Nobody, 10); n != 3 {
		t.Errorf("one user has %d connections", n)
	}
	if n := fill(t, d.ReadOnlySocket, 0, 10); n != 3 {
		t.Errorf("root has %d connections", n)
	}
	if n := fill(t, d.ReadOnlySocket, daemon.Nobody-1, 10); n != 2 {
		t.Errorf("the third user has %d connections", n)
	}
}

// TestStalledReader asks for more than sockets hold and does not read it. Others pull at full speed, and the reader is
// dropped once the write deadline, half a minute, has passed.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	r := registrytest.New(t, registrytest.Options{})
	d := daemon.Start(t, daemon.Options{})
	r.PushImage(t, "huge:1", registrytest.ImageOptions{Labels: map[string]string{"a": strings.Repeat("a", 3_900_000)}})
	if r := d.Call(t, "io.imaged.transfers.Pull", pull(r.Ref("huge:1"))); r.Error != "" {
		t.Fatalf("%.500s", r.Raw)
	}
	for i := range 6 {
		image := fmt.Sprintf("fast:%d", i)
		r.PushImage(t, image, slowImage())
	}
	speed := func(image string) time.Duration {
		began := time.Now()
		replies := d.Dial(t).Replies(t, "io.imaged.transfers.Pull", pull(r.Ref(image)), "more")
		if last := replies[len(replies)-1]; last.Error != "" {
			t.Errorf("%s", last.Raw)
		}
		return time.Since(began)
	}
	alone := min(speed("fast:0"), speed("fast:1"))
	var stalled []*daemon.Conn
	for range 20 {
		c := d.Dial(t)
		if err := c.Send("io.imaged.images.List", "", "more"); err != nil {
			t.Fatal(err)
		}
		stalled = append(stalled, c)
	}
	// And one who watches the very pull of another.
	hold := make(chan struct{})
	r.PushImage(t, "watched:1", slowImage())
	r.Misbehave(registrytest.Rule{Method: "GET", Path: "/v2/watched/blobs/", Skip: 1, Fault: registrytest.Fault{Stall: hold, After: 1000}})
	reader, sleeper := d.Dial(t), d.Dial(t)
	job := startJob(t, reader, pull(r.Ref("watched:1")))
	if err := sleeper.Send("io.imaged.jobs.Attach", fmt.Sprintf(`{"job":%q}`, job), "more"); err != nil {
		t.Fatal(err)
	}
	awaitWatchers(t, d, job, 2)
	close(hold)
	if last := lastReply(t, reader); last.Error != "" {
		t.Errorf("%s", last.Raw)
	}
	beside := min(speed("fast:2"), speed("fast:3"), speed("fast:4"))
	if beside > 4*alone+time.Second {
		t.Errorf("a pull takes %s beside stalled readers, %s alone", beside, alone)
	}
	if r := d.Call(t, "io.imaged.images.List", ""); r.Error != "" {
		t.Errorf("%.200s", r.Raw)
	}
	for _, c := range stalled {
		awaitHangup(t, c)
	}
}

// awaitHangup waits for the daemon to close a connection whose client does not read.
func awaitHangup(t testing.TB, c *daemon.Conn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	daemon.Await(t, "the stalled reader is dropped", func() bool {
		gone := false
		if err := raw.Control(func(fd uintptr) { gone = hungUp(fd) }); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		return gone
	})
}
