package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/imaged-project/imaged/varlink"
)

const (
	// privateGrace is how long a self-started daemon may take to end after the hang-up; it stops its work, waits for
	// the disk and releases the store. Then it is asked to by a signal, and after that time again made to.
	privateGrace = 30 * time.Second
	// privateLog is how much of a self-started daemon's last words is kept for the case that it fails.
	privateLog = 8 << 10
)

// privateOptions are the flags that a self-started daemon gets.
type privateOptions struct {
	root, runRoot, driver, tmpDir string
}

func (o privateOptions) given() bool { return o != privateOptions{} }

func (o privateOptions) arguments() []string {
	var args []string
	for _, flag := range []struct{ name, value string }{
		{"--root", o.root}, {"--runroot", o.runRoot}, {"--storage-driver", o.driver}, {"--tmpdir", o.tmpDir},
	} {
		if flag.value != "" {
			args = append(args, flag.name, flag.value)
		}
	}
	return args
}

// privateDaemon is an imaged that serves this run alone, over a socket pair. It ends when the connection closes.
type privateDaemon struct {
	command *exec.Cmd
	log     *tail
	ended   chan struct{} // closed when the process is gone
	err     error         // how it ended; valid once ended is closed
}

// activate gives a program the descriptor 3 as systemd does. LISTEN_PID must name the process itself, whose
// id only it knows.
const activate = `LISTEN_PID=$$ exec "$0" "$@"`

// startPrivate starts a daemon of our own and connects to it.
func (a *app) startPrivate(ctx context.Context) (*session, error) {
	program, err := findDaemon()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, &failure{code: exitFailed, what: "imaged for this command", why: err.Error(), next: "try again", err: err}
	}
	defer closeQuietly(theirs)
	d := &privateDaemon{log: &tail{limit: privateLog}, ended: make(chan struct{})}
	args := append([]string{"-c", activate, program}, a.private.arguments()...)
	d.command = exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", args...)
	d.command.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=varlink")
	d.command.ExtraFiles = []*os.File{theirs}
	d.command.Stderr = d.log
	// In a group of its own, ^C on the terminal reaches imagectl alone, which hangs up and waits.
	d.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// What the daemon leaves running must not hold its log open for ever.
	d.command.WaitDelay = time.Second
	if err := d.command.Start(); err != nil {
		closeQuietly(ours)
		return nil, &failure{code: exitFailed, what: "starting " + program, why: err.Error(), next: "check that it may be run", err: err}
	}
	go func() {
		defer close(d.ended)
		d.err = d.command.Wait()
	}()
	return &session{client: varlink.NewClient(ours), private: d}, nil
}

// wait waits until the daemon has ended after the hang-up.
func (d *privateDaemon) wait() error {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		select {
		case <-d.ended:
			return d.failure()
		case <-time.After(privateGrace):
			// Signalling a process that has just ended is no error worth telling.
			_ = d.command.Process.Signal(signal)
		}
	}
	<-d.ended
	return d.failure()
}

func (d *privateDaemon) failure() error {
	if d.err == nil {
		return nil
	}
	why := d.err.Error()
	if words := strings.TrimSpace(d.log.String()); words != "" {
		why += ", after\n" + words
	}
	return &failure{
		code: exitFailed, what: "the imaged started for this command (" + d.command.Args[3] + ")", why: why,
		next: "run imaged itself to see more", err: d.err,
	}
}

// findDaemon looks for imaged beside this program, then in PATH.
func findDaemon() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "imaged")
		if stat, err := os.Stat(beside); err == nil && stat.Mode().IsRegular() && stat.Mode()&0o111 != 0 {
			return beside, nil
		}
	}
	program, err := exec.LookPath("imaged")
	if err != nil {
		return "", &failure{
			code: exitFailed, what: "no daemon is running, and none can be started", why: err.Error(),
			next: "put imaged beside imagectl or into PATH, or give the --address of one that runs", err: err,
		}
	}
	return filepath.Abs(program)
}

// socketPair makes a connected pair: our end, and the end for a child.
func socketPair() (*net.UnixConn, *os.File, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	file, theirs := os.NewFile(uintptr(pair[0]), "imaged"), os.NewFile(uintptr(pair[1]), "imagectl")
	defer closeQuietly(file)
	conn, err := net.FileConn(file)
	if err != nil {
		closeQuietly(theirs)
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

// tail keeps the last bytes written to it, from the start of a line. It is safe for concurrent use.
type tail struct {
	limit int

	mu      sync.Mutex
	kept    []byte // guarded by mu
	dropped bool   // guarded by mu
}

// Write implements io.Writer; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept, t.dropped = append(t.kept[:0], t.kept[over:]...), true
	}
	return len(p), nil
}

// String gives what was kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, rest, ok := bytes.Cut(t.kept, []byte("\n")); t.dropped && ok {
		return string(rest)
	}
	return string(t.kept)
}
