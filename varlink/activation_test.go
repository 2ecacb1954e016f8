package varlink_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/varlinktest"
	"golang.org/x/sys/unix"
)

// activationVariable makes the test binary a service that is started by activation.
const activationVariable = "VARLINK_TEST_ACTIVATION"

// activated serves the test interface on the passed sockets if the process is such a service. Fault 8 of varlink/go.
func activated() bool {
	mode := os.Getenv(activationVariable)
	if mode == "" {
		return false
	}
	if err := serveActivated(mode); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func serveActivated(mode string) error {
	var opts []varlink.ActivationOption
	switch mode {
	case "any":
		opts = append(opts, varlink.AnyProcess())
	case "pidfd":
		if err := os.Setenv("LISTEN_PIDFDID", pidfdNumber()); err != nil {
			return err
		}
	}
	sockets, err := varlink.ActivationSockets(opts...)
	if err != nil {
		return err
	}
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
		if _, ok := os.LookupEnv(name); ok {
			return errors.New(name + " is still set")
		}
	}
	if _, ok := os.LookupEnv("LISTEN_PIDFDID"); ok {
		return errors.New("LISTEN_PIDFDID is still set")
	}
	s := &varlink.Server{Vendor: mode}
	results := make(chan error, len(sockets))
	for _, socket := range sockets {
		s.Product += "[" + socket.Name + "]"
	}
	for _, socket := range sockets {
		go func() {
			var opts []varlink.ListenOption
			if strings.HasSuffix(socket.Name, "-ro") {
				opts = append(opts, varlink.ReadOnly())
			}
			if socket.Conn != nil {
				results <- s.ServeConn(socket.Conn, opts...)
				return
			}
			if err := inherited(socket.Listener); err != nil {
				results <- err
				return
			}
			results <- s.Serve(socket.Listener, opts...)
		}()
	}
	for range sockets {
		err = errors.Join(err, <-results)
	}
	return err
}

// pidfdNumber is the number of this process's pidfds; "" where they have none of their own.
func pidfdNumber() string {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }()
	var system unix.Statfs_t
	var status unix.Stat_t
	if unix.Fstatfs(fd, &system) != nil || system.Type != unix.PID_FS_MAGIC || unix.Fstat(fd, &status) != nil {
		return ""
	}
	return strconv.FormatUint(status.Ino, 10)
}

// inherited checks that child processes would not get the socket.
func inherited(l *net.UnixListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	flags := 0
	if ctl := raw.Control(func(fd uintptr) { flags, err = unix.FcntlInt(fd, unix.F_GETFD, 0) }); ctl != nil || err != nil {
		return errors.Join(ctl, err)
	}
	if flags&unix.FD_CLOEXEC == 0 {
		return errors.New("the socket would be inherited")
	}
	return nil
}

// startActivated starts the service with these descriptors.
func startActivated(t *testing.T, mode, names string, sockets ...interface{ File() (*os.File, error) }) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `export LISTEN_PID=$$; exec "$0"`, os.Args[0])
	if mode == "any" {
		cmd = exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(cmd.Environ(), "LISTEN_PID=1")
	}
	cmd.Env = append(cmd.Environ(), activationVariable+"="+mode, "LISTEN_FDS="+strconv.Itoa(len(sockets)))
	if names != "" {
		cmd.Env = append(cmd.Env, "LISTEN_FDNAMES="+names)
	}
	cmd.Stderr = os.Stderr
	for _, s := range sockets {
		f, err := s.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestFault08ActivationWithListeners(t *testing.T) {
	t.Parallel()
	for mode, names := range map[string]string{"named": "varlink:varlink-ro", "unnamed": "", "any": "varlink:varlink-ro", "pidfd": "varlink:varlink-ro"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			var listeners []*net.UnixListener
			for _, name := range []string{"full", "ro"} {
				l, err := varlink.Listen("unix:"+dir+"/"+name, 0o600)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				listeners = append(listeners, l)
			}
			cmd := startActivated(t, mode, names, listeners[0], listeners[1])
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait() // killed
			}()
			product := "[varlink][varlink-ro]"
			if names == "" {
				product = "[][]"
			}
			for i := range 100 { // one after another, on both
				c, err := varlink.Dial(t.Context(), "unix:"+listeners[i%2].Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				var info struct{ Vendor, Product string }
				err = c.Call(t.Context(), "org.varlink.service.GetInfo", nil, &struct {
					Vendor  *string `json:"vendor"`
					Product *string `json:"product"`
				}{&info.Vendor, &info.Product})
				if err != nil || info.Product != product || info.Vendor != mode {
					t.Fatalf("call %d: %+v, %v", i, info, err)
				}
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"full", "ro"} {
				if _, err := os.Lstat(dir + "/" + name); err != nil {
					t.Errorf("the socket was removed: %v", err)
				}
			}
		})
	}
}

func TestFault08ActivationWithAConnection(t *testing.T) {
	t.Parallel()
	a, b := varlinktest.Pair(t)
	cmd := startActivated(t, "connected", "varlink", b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, a)
	for range 3 {
		p.send(`{"method":"org.varlink.service.GetInfo"}`)
		p.expect(`{"parameters":{"vendor":"connected","product":"[varlink]","version":"","url":"","interfaces":["org.varlink.service"]}}`)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the service did not end well with its client: %v", err)
	}
}

func TestActivationRefusesOtherDescriptors(t *testing.T) {
	t.Parallel()
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	gram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: shortDir(t) + "/socket", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = gram.Close() })
	for _, s := range []interface{ File() (*os.File, error) }{tcp, gram, asFile{pipeWith(t, "")}} {
		cmd := startActivated(t, "other", "varlink", s)
		if err := cmd.Wait(); err == nil {
			t.Errorf("%T was accepted", s)
		}
	}
}

// asFile has the method File.
type asFile struct{ file *os.File }

func (f asFile) File() (*os.File, error) { return f.file, nil }

func TestNoActivation(t *testing.T) {
	for _, fds := range []string{"", "0", "-1", "many", "1000000000"} {
		t.Setenv("LISTEN_FDS", fds)
		t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		if sockets, err := varlink.ActivationSockets(); err != nil || len(sockets) > 0 {
			t.Errorf("LISTEN_FDS=%q: %v, %v", fds, sockets, err)
		}
	}
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_PID", "1")
	if sockets, err := varlink.ActivationSockets(); err != nil || len(sockets) > 0 {
		t.Errorf("another process's sockets: %v, %v", sockets, err)
	}
}

func TestActivationOfAnEarlierProcess(t *testing.T) {
	if pidfdNumber() == "" {
		t.Skip("pidfds have no numbers of their own here")
	}
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("LISTEN_PIDFDID", "1")
	if sockets, err := varlink.ActivationSockets(); err != nil || len(sockets) > 0 {
		t.Errorf("the sockets of one with the same id: %v, %v", sockets, err)
	}
}
