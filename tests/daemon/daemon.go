// Package daemon runs imaged for tests, as a process with a store of its own, and talks to it in raw bytes: what it sends
// and takes is Varlink as the specification has it, not as package varlink does.
//
// It may be imported by tests only, and imports no package of imaged.
package daemon

import (
	"bytes"
	"errors"
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

// Patience bounds every wait for a daemon: more than a busy machine needs, less than a person would wait.
const Patience = time.Minute

// Options say how to run a daemon. The zero value has an empty store and the full socket alone.
type Options struct {
	// Args are more arguments.
	Args []string
	// Env are more variables of its environment, which has nothing of the test's but PATH.
	Env []string
	// ReadOnly adds a read-only socket, for every user.
	ReadOnly bool
	// Files are what the daemon finds in its home, by their paths there, as .config/containers/policy.json. $DIR in them
	// stands for the home.
	Files map[string]string
	// Dir is the home. Empty: a new one, which goes with the test. Sockets in it are replaced.
	Dir string
	// Fails says that the daemon need not end well.
	Fails bool
}

// Daemon is a running imaged. All methods are safe for concurrent use.
type Daemon struct {
	// Dir is its home, which holds all that it writes.
	Dir string
	// Socket and ReadOnlySocket are the paths of its sockets.
	Socket, ReadOnlySocket string
	// Root, RunRoot and Tmp are the folders of its store and of big temporary files.
	Root, RunRoot, Tmp string

	cmd   *exec.Cmd
	log   lockedBuffer
	ended chan struct{} // closed when err is set
	err   error         // how the process ended
}

// Home makes a folder that goes with the test. It is not t.TempDir, since a socket's path has to be short and other users
// have to get there.
func Home(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "imaged-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Start runs a daemon, waits until it says that it is ready, and ends it with the test, which fails if it does not end
// well. Without root's rights, which overlay mounts need, the test is skipped.
func Start(t testing.TB, o Options) *Daemon {
	t.Helper()
	d := Prepare(t, o)
	notify := filepath.Join(d.Dir, "notify.sock")
	if err := os.Remove(notify); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // after the daemon has ended: it tells that, too
	args := append(d.StoreArgs(), "--address", "unix:"+d.Socket)
	if o.ReadOnly {
		args = append(args, "--read-only-address", "unix:"+d.ReadOnlySocket)
	}
	cmd := d.Command(t, append(args, o.Args...)...)
	cmd.Env = append(append(cmd.Env, "NOTIFY_SOCKET="+notify), o.Env...)
	d.Run(t, cmd, o.Fails)
	go func() {
		<-d.ended
		_ = conn.SetReadDeadline(time.Now()) // a daemon that died will never be ready
	}()
	if err := awaitReady(conn); err != nil {
		<-d.ended
		t.Fatalf("imaged is not ready: %v\n%s", err, d.Log())
	}
	return d
}

// Prepare makes the home of a daemon that the test starts itself.
func Prepare(t testing.TB, o Options) *Daemon {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a store with overlay mounts wants root")
	}
	dir := o.Dir
	if dir == "" {
		dir = Home(t)
	}
	d := &Daemon{
		Dir: dir, Socket: filepath.Join(dir, "i.sock"), ReadOnlySocket: filepath.Join(dir, "ro.sock"),
		Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), Tmp: filepath.Join(dir, "tmp"),
		ended: make(chan struct{}),
	}
	files := map[string]string{"tmp/.keep": "", "registries.conf": "unqualified-search-registries = [\"docker.io\"]\n", "storage.conf": "[storage]\ndriver = \"overlay\"\n"}
	for path, text := range o.Files {
		files[path] = text
	}
	for path, text := range files {
		d.Write(t, path, text)
	}
	return d
}

// Write puts a file into the daemon's home; $DIR in its text stands for the home.
func (d *Daemon) Write(t testing.TB, path, text string) {
	t.Helper()
	path = filepath.Join(d.Dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "$DIR", d.Dir)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// StoreArgs are the options that place the daemon's store.
func (d *Daemon) StoreArgs() []string {
	return []string{"--root", d.Root, "--runroot", d.RunRoot, "--storage-driver", "overlay", "--tmpdir", d.Tmp, "--log-level", "debug"}
}

// Command is imaged with these arguments, ready to be started.
func (d *Daemon) Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(Binary(t, "imaged"), args...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.Dir, "XDG_RUNTIME_DIR=" + d.Dir,
		"CONTAINERS_STORAGE_CONF=" + filepath.Join(d.Dir, "storage.conf"),
		"CONTAINERS_REGISTRIES_CONF=" + filepath.Join(d.Dir, "registries.conf"),
	}, raceOptions(t)...)
	cmd.Dir = d.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

// Run starts a command of Command as the daemon, and ends it with the test.
func (d *Daemon) Run(t testing.TB, cmd *exec.Cmd, fails bool) {
	t.Helper()
	d.cmd, cmd.Stderr = cmd, &d.log
	if cmd.Stdout == nil {
		cmd.Stdout = &d.log
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.err = cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() {
		d.Signal(syscall.SIGTERM)
		if err := d.Wait(); err != nil && !fails {
			t.Errorf("imaged ended: %v", err)
		}
		if strings.Contains(d.Log(), "DATA RACE") {
			t.Error("imaged has a data race")
		}
		if t.Failed() {
			t.Logf("imaged's log:\n%s", tail(d.Log(), 20_000))
		}
		if err := unmountBelow(d.Dir); err != nil {
			t.Error(err)
		}
	})
}

// awaitReady reads what a daemon tells systemd until it is ready.
func awaitReady(conn *net.UnixConn) error {
	if err := conn.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	message := make([]byte, 4096)
	for {
		n, err := conn.Read(message)
		if err != nil {
			return err
		}
		if strings.Contains(string(message[:n]), "READY=1") {
			return nil
		}
	}
}

// Signal sends a signal; a daemon that is gone does not mind.
func (d *Daemon) Signal(s syscall.Signal) { _ = d.cmd.Process.Signal(s) }

// Wait waits until the daemon has ended, and returns how.
func (d *Daemon) Wait() error {
	kill := time.AfterFunc(Patience, func() { _ = d.cmd.Process.Signal(syscall.SIGABRT) })
	defer kill.Stop()
	<-d.ended
	if !kill.Stop() {
		return fmt.Errorf("it did not end in time: %w", d.err)
	}
	return d.err
}

// Log is what the daemon said so far.
func (d *Daemon) Log() string { return d.log.String() }

func tail(text string, most int) string {
	if len(text) > most {
		return "…" + text[len(text)-most:]
	}
	return text
}

// lockedBuffer is a buffer that is read while a process writes to it.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
