package varlink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/varlinktest"
	"golang.org/x/sys/unix"
)

func TestDescriptorsOfPipelinedCalls(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil))
	p.send(call("Empty", `{}`))
	p.sendFiles(call("ReadFile", `{"fileDescriptor":0}`)+"\x00"+call("Empty", `{}`), pipeWith(t, "one"))
	p.send(call("Empty", `{}`))
	p.sendFiles(call("ReadFiles", `{"fileDescriptors":[1,0]}`), pipeWith(t, "two"), pipeWith(t, "three"))
	p.expect(emptyReply, `{"parameters":{"content":"one"}}`, emptyReply, emptyReply,
		`{"parameters":{"contents":["three","two"]}}`)
}

func TestDescriptorsThatAreNamedWrongly(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for name, test := range map[string]struct {
		message, invalid string
		files            int
	}{
		"none":           {call("ReadFile", `{"fileDescriptor":0}`), "fileDescriptor", 0},
		"beyond":         {call("ReadFile", `{"fileDescriptor":1}`), "fileDescriptor", 1},
		"negative":       {call("ReadFile", `{"fileDescriptor":-1}`), "fileDescriptor", 1},
		"not all named":  {call("ReadFile", `{"fileDescriptor":1}`), "fileDescriptor", 2},
		"twice":          {call("ReadFiles", `{"fileDescriptors":[0,0]}`), "fileDescriptors", 1},
		"list too short": {call("ReadFiles", `{"fileDescriptors":[0]}`), "fileDescriptors", 2},
		"not wanted":     {call("Empty", `{}`), "fileDescriptor", 1},
		"other number":   {call("Count", `{"upTo":0}`), "fileDescriptor", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := connect(t, s)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			files := make([]*os.File, test.files)
			for i := range files {
				fd, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				files[i] = os.NewFile(uintptr(fd), "pipe")
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			p.sendFiles(test.message, files...)
			p.expect(invalid(test.invalid))
			if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 { // ends when all copies are closed
				t.Errorf("got %q, %v", rest, err)
			}
		})
	}
}

func TestDescriptorsInTheMiddleOfAMessage(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil))
	message := call("ReadFile", `{"fileDescriptor":0}`)
	if _, err := p.Write([]byte(call("Empty", `{}`) + "\x00" + message[:10])); err != nil {
		t.Fatal(err)
	}
	p.expect(emptyReply) // so the server has the beginning, too
	p.sendFiles(message[10:], pipeWith(t, "one"))
	p.expectClosed()
}

func TestDescriptorFlood(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for name, message := range map[string]string{
		"call":            call("Empty", `{}`) + "\x00",
		"half a message":  `{"method":`,
		"a byte":          `{`,
		"not JSON":        "hello\x00",
		"several":         "{}\x00{}\x00{}\x00",
		"NUL":             "\x00",
		"unknown method":  call("Nonsense", `{}`) + "\x00",
		"oneway":          call("Empty", `{}`, "oneway") + "\x00",
		"after a message": "\x00" + call("Empty", `{}`) + "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := connect(t, s)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fds := make([]int, 253)
			for i := range fds {
				fds[i] = int(w.Fd())
			}
			if _, _, err := p.WriteMsgUnix([]byte(message), unix.UnixRights(fds...), nil); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			p.expectClosed()
			if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 { // ends when all copies are closed
				t.Errorf("got %q, %v", rest, err)
			}
		})
	}
}

func TestDescriptorsOfReplies(t *testing.T) {
	t.Parallel()
	c := varlinktest.NewClient(t, newServer(t, func(ctx context.Context, call *varlink.Call) error {
		for _, content := range []string{"first", "second"} {
			out := descriptorBody{call.PushFile(pipeWith(t, content))}
			if err := call.ReplyContinues(out); err != nil {
				return err
			}
		}
		return call.Reply(nil)
	}))
	read := func(index int64) string {
		f, err := c.TakeFile(index)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		content, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	var out descriptorBody
	if err := c.Call(t.Context(), testInterface+".OpenFile", contentBody{"from the server"}, &out); err != nil {
		t.Fatal(err)
	}
	if got := read(out.FileDescriptor); got != "from the server" {
		t.Errorf("got %q", got)
	}
	if _, err := c.TakeFile(0); err == nil {
		t.Error("taken twice")
	}
	var got []string
	for r, err := range c.Stream(t.Context(), testInterface+".Watch", nil) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Continues {
			got = append(got, read(0))
		}
	}
	if strings.Join(got, " ") != "first second" {
		t.Errorf("got %q", got)
	}
}

// A descriptor that is pushed for a reply that is never sent is closed all the same.
func TestPushedFilesAreClosed(t *testing.T) {
	t.Parallel()
	closed := func(f *os.File) bool { return errors.Is(f.Close(), os.ErrClosed) }
	files := make(chan *os.File, 3)
	s := newServer(t, func(_ context.Context, c *varlink.Call) error {
		for range 3 {
			f := pipeWith(t, "")
			files <- f
			c.PushFile(f)
		}
		return &broken{}
	})
	p := connect(t, s)
	p.send(call("Run", `{}`, "oneway"), call("Empty", `{}`))
	p.expect(emptyReply)
	for range 3 {
		if !closed(<-files) {
			t.Error("a pushed descriptor was left open")
		}
	}
	c := varlinktest.NewClient(t, s)
	f := pipeWith(t, "")
	c.PushFile(f)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if !closed(f) {
		t.Error("a descriptor pushed to a client was left open")
	}
}

// TestDescriptorsAreFlat makes many calls of all kinds and looks at what is left.
func TestDescriptorsAreFlat(t *testing.T) {
	if !isChild() {
		runChild(t, 128)
		return
	}
	s := newServer(t, nil)
	address := varlinktest.Listen(t, s)
	var before int
	for i := range 300 {
		c, err := varlink.Dial(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		in := descriptorBody{c.PushFile(pipeWith(t, "x"))}
		if err := c.Call(t.Context(), testInterface+".ReadFile", in, nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Call(t.Context(), testInterface+".OpenFile", contentBody{"x"}, nil); err != nil {
			t.Fatal(err)
		}
		c.PushFile(pipeWith(t, "x"))
		if err := c.Call(t.Context(), testInterface+".Empty", nil, nil); err == nil {
			t.Fatal("a descriptor that nobody wants was accepted")
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			before = openDescriptors(t)
		}
	}
	if after := openDescriptors(t); after > before+10 {
		t.Errorf("%d descriptors were open, %d are", before, after)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestFault05AcceptErrorsAreWaitedFor(t *testing.T) {
	if !isChild() {
		runChild(t, 128)
		return
	}
	var log logBuffer
	s := newServer(t, nil)
	s.Log = &log
	address := varlinktest.Listen(t, s)
	p := dial(t, address) // served before the shortage
	p.send(call("Empty", `{}`))
	p.expect(emptyReply)
	waiting, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var hoard []int
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			break
		}
		hoard = append(hoard, fd)
	}
	if err := unix.Connect(waiting, &unix.SockaddrUnix{Name: strings.TrimPrefix(address, "unix:")}); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(log.String(), "next try in 20ms") {
		p.send(call("Empty", `{}`)) // still served
		p.expect(emptyReply)
	}
	for _, fd := range hoard {
		if err := unix.Close(fd); err != nil {
			t.Fatal(err)
		}
	}
	f := os.NewFile(uintptr(waiting), "socket")
	defer f.Close()
	if _, err := f.WriteString(call("Empty", `{}`) + "\x00"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := f.Read(buf)
	if got := string(buf[:n]); err != nil || got != emptyReply+"\x00" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestDefaultLimits opens as many connections as a server takes.
func TestDefaultLimits(t *testing.T) {
	if !isChild() {
		runChild(t, 10_000)
		return
	}
	for _, test := range []struct{ perUID, most int }{
		{0, varlink.DefaultMaxConnectionsPerUID},
		{10_000, varlink.DefaultMaxConnections},
	} {
		s := newServer(t, nil)
		s.MaxConnectionsPerUID = test.perUID
		address := varlinktest.Listen(t, s)
		peers := make([]*peer, test.most)
		for i := range peers {
			peers[i] = dial(t, address)
		}
		peers[test.most-1].send(call("Empty", `{}`))
		peers[test.most-1].expect(emptyReply)
		dial(t, address).expectClosed()
		for _, p := range peers {
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for { // until the first ones are noticed to have gone
			p := dial(t, address)
			if _, err := p.Write([]byte(call("Empty", `{}`) + "\x00")); err == nil {
				if reply, err := p.r.ReadString(0); err == nil && reply == emptyReply+"\x00" {
					break
				}
			}
		}
	}
}

// TestListenMode looks at the socket from its first instant, with umasks that are no help.
func TestListenMode(t *testing.T) {
	if !isChild() {
		runChild(t, 128)
		return
	}
	dir := shortDir(t)
	for i, umask := range []int{0, 0o777, 0o022} {
		unix.Umask(umask)
		path := dir + "/" + strconv.Itoa(i)
		first, done := make(chan os.FileMode, 1), make(chan struct{})
		go func() {
			defer close(first)
			for {
				info, err := os.Lstat(path)
				if err == nil {
					first <- info.Mode().Perm()
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		}()
		l, err := varlink.Listen("unix:"+path, 0o620)
		if err != nil {
			t.Fatal(err)
		}
		if mode := modeOf(t, path); mode != 0o620 {
			t.Errorf("umask %o: mode %o", umask, mode)
		}
		close(done)
		if mode, ok := <-first; ok && mode&^0o620 != 0 {
			t.Errorf("umask %o: mode %o at first", umask, mode)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

const childVariable = "VARLINK_TEST_CHILD"

func isChild() bool { return os.Getenv(childVariable) != "" }

// runChild runs the test again in a process of its own with so many descriptors, where it may do as it likes.
func runChild(t *testing.T, descriptors int) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < uint64(descriptors) {
		t.Skipf("%d descriptors are not to be had, %d are", descriptors, limit.Max)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, descriptors),
		os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
