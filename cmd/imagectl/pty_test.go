package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal of a size: what a program sees, and our side of it.
func openTerminal(t *testing.T, columns, rows uint16) (terminal, ours *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	fd := int(ours.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return terminal, ours
}

// onTerminal runs imagectl with a terminal for standard error, and gives what stands on stdout and what was written to
// the terminal.
func onTerminal(t *testing.T, columns, rows uint16, environment []string, args ...string) (stdout, screen string) {
	t.Helper()
	server, err := startServer(filepath.Join(t.TempDir(), "i.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer server.stop()
	terminal, ours := openTerminal(t, columns, rows)
	cmd := exec.Command("imagectl", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, terminal
	cmd.Env = append(os.Environ(), append([]string{"TERM=xterm", "NO_COLOR=", "IMAGED_ADDRESS=" + server.address}, environment...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Close()
	// The read ends with EIO once no program holds the terminal.
	seen, err := io.ReadAll(ours)
	if err != nil && !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, seen)
	}
	return out.String(), string(seen)
}

func TestPullOnATerminal(t *testing.T) {
	t.Parallel()
	stdout, screen := onTerminal(t, 72, 20, nil, "pull", "alpine")
	if stdout != idAlpine+"\n" {
		t.Errorf("stdout is %q", stdout)
	}
	for _, want := range []string{`mirror said \x1b[31mno`, "pulled alpine: 6.0 MB in "} {
		if !strings.Contains(screen, want) {
			t.Errorf("no %q in %q", want, screen)
		}
	}
	for line := range strings.SplitSeq(screen, "\r\n") {
		if len(line) > 72+len("\x1b[12A\x1b[J") {
			t.Errorf("%q is longer than the terminal is wide", line)
		}
	}
}

// TestTerminalWithoutSize proves that there is progress where whoever made the terminal gave it no size.
func TestTerminalWithoutSize(t *testing.T) {
	t.Parallel()
	if _, screen := onTerminal(t, 0, 0, nil, "pull", "alpine"); !strings.Contains(screen, "pulled alpine: 6.0 MB in ") {
		t.Errorf("the screen got %q", screen)
	}
}

func TestDumbTerminalGetsLines(t *testing.T) {
	t.Parallel()
	_, screen := onTerminal(t, 72, 20, []string{"TERM=dumb"}, "pull", "alpine")
	if strings.Contains(screen, "\x1b") || !strings.HasPrefix(screen, "pulling alpine\r\n") {
		t.Errorf("the screen got %q", screen)
	}
}

// TestInterruptExitCode proves that ^C ends a pull with code 130.
func TestInterruptExitCode(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		server, err := startServer(filepath.Join(t.TempDir(), "i.sock"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("imagectl", "--address", server.address, "pull", "slow", "other")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-server.pulling
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the code tells
		if got := cmd.ProcessState.ExitCode(); got != exitInterrupted {
			t.Errorf("%v: exit code %d, want %d", signal, got, exitInterrupted)
		}
		<-server.cancelled
		server.stop()
	}
}
