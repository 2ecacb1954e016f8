package faultlab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/varlink"
)

// fault is a row: one way in which the world may break.
type fault struct {
	name string
	// tmpfs is true if the disk has to be one.
	tmpfs bool
	// only is the one operation that it is about; empty: all.
	only string
	// quick is how many cases make test runs of each operation, and of a pull so many more.
	quick, more int
	// all is true if it runs them also of operations that are seldom run.
	all bool
	// flags are more flags of the daemon.
	flags []string
	// strike makes the call under the fault. When it returns, the fault is over. It tells whether the call was
	// acknowledged.
	strike func(l *lab, op *operation) (acked bool)
}

var faults = []fault{
	{name: "power cut at any time", quick: 1, more: 4, strike: powerCut},
	{name: "power cut after the reply", quick: 1, strike: powerCutAfterReply},
	{name: "killed at any time", all: true, quick: 1, more: 1, strike: killed},
	{name: "killed in a system call", quick: 1, more: 3, strike: killedInCall},
	{name: "disk full", quick: 1, more: 1, strike: diskFull},
	{name: "little room kept", only: "pull", quick: 1, flags: []string{"--limit", "store.freeBytes=50000000"}, strike: roomKept},
	{name: "inodes full", tmpfs: true, only: "pull", quick: 1, strike: inodesFull},
	{name: "disk read-only", quick: 1, strike: diskReadOnly},
	{name: "disk slow", only: "pull", quick: 1, strike: diskSlow},
	{name: "fsync fails", quick: 1, more: 1, strike: syncFails},
	{name: "no more files", only: "pull", quick: 1, strike: noFiles},
	{name: "no more processes", only: "pull", quick: 1, strike: noProcesses},
	{name: "little memory", only: "pull", quick: 1, strike: littleMemory},
}

// points is how many cases there are of an operation under the fault.
func (f *fault) points(op *operation) int {
	switch {
	case f.only != "" && f.only != op.name:
		return 0
	case world.full:
		return 4 + 6*f.more
	case op.seldom && !f.all:
		return 0
	case op.name == "pull":
		return f.quick + f.more
	}
	return f.quick
}

// begin makes the call and returns where its error comes.
func begin(l *lab, op *operation) <-chan error {
	done := make(chan error, 1)
	go func() { done <- l.call(op.call) }()
	return done
}

// await lets some time go by during a call. It tells whether the call was acknowledged by then.
func await(l *lab, op *operation, done <-chan error) bool {
	span := 80 * time.Millisecond
	if op.grows || op.reads {
		span = 600 * time.Millisecond
	}
	delay := time.Duration(l.random.Int64N(int64(span)))
	l.t.Logf("after %v", delay)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case err := <-done:
		must(l.t, err)
		return true
	}
}

func powerCut(l *lab, op *operation) bool {
	done := begin(l, op)
	acked := await(l, op, done)
	must(l.t, l.disk.cut())
	l.boot()
	if !acked {
		<-done
	}
	return acked
}

// killed kills the daemon and its children, which is what a service manager does, too.
func killed(l *lab, op *operation) bool {
	done := begin(l, op)
	acked := await(l, op, done)
	l.daemon.kill()
	if !acked {
		acked = <-done == nil
	}
	return acked
}

func powerCutAfterReply(l *lab, op *operation) bool {
	must(l.t, l.call(op.call))
	must(l.t, l.disk.cut())
	l.boot()
	return true
}

// mutating are the system calls in which to kill, with how many of each a pull makes in one thread, about.
var mutating = []struct {
	calls string
	most  int
}{
	{"rename,renameat,renameat2", 8},
	{"unlink,unlinkat", 8},
	{"mkdir,mkdirat", 6},
	{"fsync,fdatasync", 6},
	{"syncfs", 1},
	{"symlink,symlinkat,link,linkat", 3},
	{"mount,umount2", 2},
	{"write,pwrite64", 40},
}

func killedInCall(l *lab, op *operation) bool {
	set := mutating[l.random.IntN(len(mutating))]
	s := attach(l, set.calls, fmt.Sprintf("signal=KILL:when=%d", 1+l.random.IntN(set.most)))
	err := l.call(op.call)
	s.detach(l)
	l.t.Logf("the call: %v", err)
	if _, answered := errors.AsType[varlink.Error](err); err != nil && !answered {
		<-l.daemon.ended
	}
	return err == nil
}

func diskFull(l *lab, op *operation) bool {
	room := int64(0)
	if op.grows {
		room = l.random.Int64N(5 << 20)
	}
	must(l.t, l.disk.leave(room))
	l.t.Logf("%d bytes free", room)
	err := l.call(op.call)
	l.typed(err, "StorageFull")
	l.reads()
	if err != nil && op.grows {
		if free, _, _ := l.disk.free(); free < room-256<<10 {
			l.t.Errorf("%d bytes are free, of %d: room was not given back", free, room)
		}
	}
	// It also starts on a full disk.
	must(l.t, l.daemon.stop())
	l.start()
	l.reads()
	must(l.t, l.disk.unfill())
	return err == nil
}

func roomKept(l *lab, op *operation) bool {
	must(l.t, l.disk.leave(51<<20))
	err := l.call(op.call)
	l.typed(err, "StorageFull")
	if err == nil {
		l.t.Error("the limit was not kept")
	}
	must(l.t, l.disk.unfill())
	return err == nil
}

func inodesFull(l *lab, op *operation) bool {
	must(l.t, l.disk.leaveFiles(l.random.Int64N(40)))
	err := l.call(op.call)
	l.typed(err, "StorageFull")
	l.reads()
	must(l.t, l.disk.unfill())
	return err == nil
}

func diskReadOnly(l *lab, op *operation) bool {
	must(l.t, l.disk.readOnly(true))
	err := l.call(op.call)
	l.typed(err, "Failed", "ReadOnlyImage", "StorageFull")
	if err == nil && !op.reads {
		l.t.Error("acknowledged on a read-only disk")
	}
	l.reads()
	must(l.t, l.disk.readOnly(false))
	return err == nil
}

// slow is how long a disk under diskSlow takes to write.
const slow = 2 * time.Second

// diskSlow holds that nobody who reads waits for what others write.
func diskSlow(l *lab, op *operation) bool {
	s := attach(l, "fsync,fdatasync,syncfs", fmt.Sprintf("delay_enter=%d", slow.Microseconds()))
	done := begin(l, op)
	timer := time.NewTimer(2 * slow)
	defer timer.Stop()
	for waiting := true; waiting; {
		begun := time.Now()
		l.reads()
		if took := time.Since(begun); took > slow/2 {
			l.t.Errorf("reading took %v", took)
		}
		select {
		case <-done:
			l.t.Errorf("the disk was not slow:\n%s", s.trace())
			waiting = false
		case <-timer.C:
			waiting = false
		case <-time.After(slow / 20):
		}
	}
	s.detach(l)
	return <-done == nil
}

func syncFails(l *lab, op *operation) bool {
	when := strconv.Itoa(1 + l.random.IntN(5))
	if l.random.IntN(2) == 0 {
		when += "+"
	}
	s := attach(l, "fsync,fdatasync,syncfs", "error=EIO:when="+when)
	err := l.call(op.call)
	l.typed(err, "Failed")
	l.reads()
	s.detach(l)
	if err == nil && s.injected() && !op.reads {
		l.t.Errorf("acknowledged, though the disk said that it was not written:\n%s", s.trace())
	}
	return err == nil
}

func noFiles(l *lab, op *operation) bool {
	files, _, err := l.daemon.descriptors()
	must(l.t, err)
	var old unix.Rlimit
	pid := l.daemon.cmd.Process.Pid
	must(l.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old))
	limit := unix.Rlimit{Cur: uint64(files + 1 + l.random.IntN(20)), Max: old.Max}
	must(l.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil))
	err = l.call(op.call)
	l.t.Logf("%d files may be open, %d are; the call: %v", limit.Cur, files, err)
	if err != nil && !l.daemon.alive() { // a lock was lost
		l.start()
		return false
	}
	l.typed(err, "Failed")
	must(l.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil))
	l.reads()
	return err == nil
}

func noProcesses(l *lab, op *operation) bool {
	s := attach(l, "clone,vfork,fork", "error=EAGAIN")
	err := l.call(op.call)
	s.detach(l)
	l.typed(err, "Failed", "StoreBusy")
	l.reads()
	return err == nil
}

func littleMemory(l *lab, op *operation) bool {
	group := filepath.Join("/sys/fs/cgroup/memory", "faultlab-"+filepath.Base(l.dir))
	if err := os.Mkdir(group, 0o700); err != nil {
		l.t.Skipf("no cgroup of memory: %v", err)
	}
	l.t.Cleanup(func() { must(l.t, os.Remove(group)) })
	must(l.t, os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte("134217728"), 0o600))
	must(l.t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(l.daemon.cmd.Process.Pid)), 0o600))
	if err := l.call(op.call); err != nil {
		l.t.Errorf("with 128 MiB of memory: %v", err)
		return false
	}
	must(l.t, l.daemon.stop())
	return true
}

// strace is a tracer that spoils system calls of the daemon and its children.
type strace struct {
	cmd    *exec.Cmd
	output string
	ended  chan error
}

// attach spoils system calls from now on. What is spoilt how often counts in each thread for itself.
func attach(l *lab, calls, how string) *strace {
	l.t.Helper()
	l.t.Logf("strace: %s:%s", calls, how)
	s := &strace{output: filepath.Join(l.dir, "strace"), ended: make(chan error, 1)}
	s.cmd = exec.Command("strace", "-f", "-o", s.output, "-p", strconv.Itoa(l.daemon.cmd.Process.Pid),
		"-e", "trace="+calls, "-e", "signal=none", "-e", "inject="+calls+":"+how)
	talk, err := s.cmd.StderrPipe()
	must(l.t, err)
	must(l.t, s.cmd.Start())
	lines := bufio.NewReader(talk)
	line, err := lines.ReadString('\n')
	if err != nil || !strings.Contains(line, "attached") {
		l.t.Fatalf("strace: %v: %s", err, line)
	}
	go func() {
		_, _ = lines.WriteTo(new(bytes.Buffer)) // more of the same
		s.ended <- s.cmd.Wait()
	}()
	return s
}

// detach lets the daemon go on unharmed, if it is still there.
func (s *strace) detach(l *lab) {
	l.t.Helper()
	if l.daemon.alive() {
		_ = s.cmd.Process.Signal(unix.SIGINT) // it may end by itself just now
	}
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	var err error
	select {
	case err = <-s.ended:
	case <-timer.C: // strace waits for ever for a program that ends while it lets go of it
		_ = s.cmd.Process.Kill()
		err = <-s.ended
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		l.t.Fatalf("strace: %v: %v", err, exit)
	}
}

// injected tells whether anything was spoilt.
func (s *strace) injected() bool { return strings.Contains(s.trace(), "(INJECTED)") }

// trace returns what was traced.
func (s *strace) trace() string {
	text, err := os.ReadFile(s.output)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
