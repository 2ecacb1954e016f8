package faultlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/varlink"
)

// daemon is a running imaged.
type daemon struct {
	address string
	cmd     *exec.Cmd
	log     *buffer
	ended   chan struct{} // closed when err is set
	err     error         // how it ended
	took    time.Duration // until it was ready
}

// startDaemon starts imaged on a disk and waits until it is ready. Its socket and what need not survive lie in dir.
func startDaemon(dir string, d *disk, log *buffer, more ...string) (*daemon, error) {
	notify := filepath.Join(dir, "notify.sock")
	_ = os.Remove(notify) // left by the one before, or not there
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	p := &daemon{address: "unix:" + filepath.Join(dir, "i.sock"), log: log, ended: make(chan struct{})}
	args := []string{
		"--address", p.address, "--root", filepath.Join(d.path, "root"), "--runroot", filepath.Join(dir, "run"),
		"--tmpdir", filepath.Join(d.path, "tmp"), "--storage-driver", "overlay", "--limit", "store.freeBytes=1",
	}
	p.cmd = exec.Command(world.imaged, append(args, more...)...)
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
		_ = conn.SetReadDeadline(time.Now()) // one that died will never be ready
	}()
	err = awaitReady(conn)
	p.took = time.Since(begun)
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("imaged is not ready: %w; it ended: %w", err, p.err)
	}
	return p, nil
}

func awaitReady(conn *net.UnixConn) error {
	_ = conn.SetReadDeadline(time.Now().Add(patience))
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

// kill ends the daemon and its children at once.
func (p *daemon) kill() {
	_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) // it may be gone already
	<-p.ended
}

// stop ends it as a service manager does; it must end well.
func (p *daemon) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.kill()
		return errors.New("imaged does not end")
	}
	if p.err != nil {
		return fmt.Errorf("imaged ended: %w", p.err)
	}
	return nil
}

// alive tells whether it runs.
func (p *daemon) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// call makes one call on a connection of its own.
func (p *daemon) call(ctx context.Context, do func(context.Context, *varlink.Client) error) error {
	conn, err := varlink.Dial(ctx, p.address)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, conn), conn.Close())
}

// descriptors returns how many files the daemon has open, and its children.
func (p *daemon) descriptors() (files int, children []string, err error) {
	proc := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	open, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return 0, nil, err
	}
	tasks, err := filepath.Glob(filepath.Join(proc, "task/*/children"))
	if err != nil {
		return 0, nil, err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err == nil { // else the thread has ended
			children = append(children, strings.Fields(string(text))...)
		}
	}
	return len(open), children, nil
}

// buffer is written by a process and read meanwhile.
type buffer struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
