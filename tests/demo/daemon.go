package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// daemon is a running imaged.
type daemon struct {
	cmd     *exec.Cmd
	address string
	logFile string
}

// startDaemon starts imaged with a store in dir, and hands it a listening socket
// the way systemd does: as descriptor 3, with LISTEN_FDS and its own process id.
func startDaemon(bin, dir string) (d *daemon, err error) {
	path := filepath.Join(dir, "imaged.sock")
	d = &daemon{address: "unix:" + path, logFile: filepath.Join(dir, "imaged.log")}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	// The daemon alone holds the socket: should it die, callers are refused
	// instead of waiting for ever.
	listener.SetUnlinkOnClose(false)
	defer func() { err = errors.Join(err, listener.Close()) }()
	socket, err := listener.File()
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer func() { err = errors.Join(err, socket.Close()) }()
	log, err := os.Create(d.logFile)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	// Only the shell knows the process id before the daemon runs.
	d.cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, filepath.Join(bin, "imaged"),
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"))
	d.cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=varlink")
	d.cmd.ExtraFiles = []*os.File{socket}
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// A ^C on the terminal is for the demo, which then ends the daemon; and it
	// must not outlive a demo that is killed.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start imaged: %w", err)
	}
	return d, nil
}

// stop ends the daemon as systemd would, and expects it to end well.
func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop imaged: %w", err)
	}
	kill := time.AfterFunc(patience, func() {
		// An error says that it is gone already.
		_ = d.cmd.Process.Kill()
	})
	defer kill.Stop()
	if err := d.cmd.Wait(); err != nil {
		return fmt.Errorf("imaged: %w", err)
	}
	return nil
}

// log returns what the daemon logged; empty if nothing can be read.
func (d *daemon) log() string {
	text, err := os.ReadFile(d.logFile)
	if err != nil {
		return ""
	}
	return string(text)
}
