package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a daemon may take to begin or to end.
const patience = 30 * time.Second

// Daemon is a running imaged with a store of its own.
type Daemon struct {
	// Dir holds all that it writes, its socket included: what other programs
	// must see.
	Dir string
	// Socket is the path of its socket.
	Socket string
	// Root and RunRoot are the folders of its store, which has the driver
	// overlay.
	Root, RunRoot string

	cmd   *exec.Cmd
	log   syncBuffer
	ended chan struct{} // closed when err is set
	err   error         // how the process ended
}

// StartDaemon starts bin/imaged with more variables in its environment, waits
// until it says that it is ready, and ends it with the test, which fails if it
// does not end well.
func StartDaemon(t testing.TB, env ...string) *Daemon {
	t.Helper()
	if os.Getuid() != 0 {
		Missing(t, "a store with overlay mounts wants root")
	}
	d := newDaemon(t)
	notify := filepath.Join(d.Dir, "notify.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatalf("interop: %v", err)
	}
	defer func() { _ = conn.Close() }()
	d.cmd = exec.Command(Binary(t, "imaged"), "--address", "unix:"+d.Socket,
		"--root", d.Root, "--runroot", d.RunRoot, "--storage-driver", "overlay", "--log-level", "debug")
	d.cmd.Env = append(append(os.Environ(), "NOTIFY_SOCKET="+notify), env...)
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		t.Fatalf("interop: %v", err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.ended)
		// A daemon that died will never be ready.
		_ = conn.SetReadDeadline(time.Now())
	}()
	t.Cleanup(func() { d.end(t) })
	if err := awaitReady(conn); err != nil {
		t.Fatalf("interop: imaged is not ready: %v", err)
	}
	return d
}

// newDaemon makes the folder for a daemon, which goes with the test. It is not
// t.TempDir, since a socket's path has to be short.
func newDaemon(t testing.TB) *Daemon {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "interop-")
	if err != nil {
		t.Fatalf("interop: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("interop: clean up: %v", err)
		}
	})
	return &Daemon{
		Dir:     dir,
		Socket:  filepath.Join(dir, "imaged.sock"),
		Root:    filepath.Join(dir, "root"),
		RunRoot: filepath.Join(dir, "run"),
		ended:   make(chan struct{}),
	}
}

// awaitReady reads what a daemon tells systemd until it is ready.
func awaitReady(conn *net.UnixConn) error {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("deadline: %w", err)
	}
	message := make([]byte, 4096)
	for {
		n, err := conn.Read(message)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if strings.Contains(string(message[:n]), "READY=1") {
			return nil
		}
	}
}

// end stops the daemon, and shows its log if the test has failed.
func (d *Daemon) end(t testing.TB) {
	t.Helper()
	// An error says that it is gone already.
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	defer kill.Stop()
	<-d.ended
	if d.err != nil {
		t.Errorf("interop: imaged ended: %v", d.err)
	}
	if t.Failed() {
		t.Logf("imaged's log:\n%s", d.Log())
	}
}

// Log returns what the daemon logged so far.
func (d *Daemon) Log() string { return d.log.String() }

// StoreArgs are the options that make podman and buildah use the daemon's
// store.
func (d *Daemon) StoreArgs() []string {
	return []string{"--root", d.Root, "--runroot", d.RunRoot, "--storage-driver", "overlay"}
}

// StoreRef is the name of an image in the daemon's store for skopeo.
func (d *Daemon) StoreRef(image string) string {
	return fmt.Sprintf("containers-storage:[overlay@%s+%s]%s", d.Root, d.RunRoot, image)
}

// syncBuffer is a buffer that is read while a process writes to it.
type syncBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements [io.Writer].
func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written so far.
func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
