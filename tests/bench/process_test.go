package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/tests/interop"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/systemdservice"
)

// patience is how long anything may take before it counts as broken.
const patience = 2 * time.Minute

// dirs are the folders of a store, in one that other programs can be shown.
type dirs struct{ dir, root, runRoot string }

// newDirs makes folders on a disk, since /tmp may be memory, which go with the test, and so do the mounts in them: a
// store's folder stays mounted on itself when the daemon is gone.
func newDirs(t *testing.T) dirs {
	t.Helper()
	if os.Getuid() != 0 {
		interop.Missing(t, "a store with overlay mounts wants root")
	}
	parent := os.Getenv("TMPDIR")
	if parent == "" {
		parent = "/var/tmp"
	}
	dir, err := os.MkdirTemp(parent, "bench-")
	if err != nil {
		t.Fatal(err)
	}
	d := dirs{dir, filepath.Join(dir, "root"), filepath.Join(dir, "run")}
	t.Cleanup(func() {
		_ = unix.Unmount(filepath.Join(d.root, "overlay"), unix.MNT_DETACH) // there may be none
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return d
}

// storeArgs are the options of podman and imaged for the store.
func (d dirs) storeArgs() []string {
	return []string{"--root", d.root, "--runroot", d.runRoot, "--storage-driver", "overlay"}
}

// waiting is the shell's part in activation: it waits for the first connection, as systemd does, and knows the number
// of the process.
const waiting = `read -r _; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`

// process is a program that serves a socket that it is activated with.
type process struct {
	cmd    *exec.Cmd
	socket string
	gate   io.Closer // lets it begin
	ended  chan error
}

// prepare starts the shell that becomes the program when begin is called; command makes a command of its arguments.
// The program ends with the test, if it does not before.
func prepare(t *testing.T, dir, name string, command func(args ...string) *exec.Cmd, args ...string) *process {
	t.Helper()
	p := &process{socket: filepath.Join(dir, name+".sock"), ended: make(chan error, 1)}
	socket := listen(t, p.socket)
	defer func() { _ = socket.Close() }()
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p.cmd = command(append([]string{"sh", "-c", waiting}, args...)...)
	p.cmd.ExtraFiles = []*os.File{socket}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.gate, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.stop(t)
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s's log:\n%s", name, text)
		}
	})
	return p
}

// begin lets the program start.
func (p *process) begin() { _ = p.gate.Close() }

// stop ends the program as systemd would. It may be called again.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.begin()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error says that it is gone
	select {
	case <-p.ended:
		p.ended <- nil
		_ = os.Remove(p.socket)
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		t.Errorf("%s does not end", p.cmd.Path)
	}
}

// startDaemon runs the imaged that make bench has built on a store.
func startDaemon(t *testing.T, d dirs) *process {
	t.Helper()
	p := prepareDaemon(t, d)
	p.begin()
	return p
}

func prepareDaemon(t *testing.T, d dirs) *process {
	t.Helper()
	return prepare(t, d.dir, "imaged", func(args ...string) *exec.Cmd { return exec.Command(args[0], args[1:]...) },
		append([]string{filepath.Join(os.Getenv("IMAGED_TEST_BIN"), "imaged")}, d.storeArgs()...)...)
}

// dial connects to imaged.
func (p *process) dial(t *testing.T) *varlink.Client {
	t.Helper()
	c, err := varlink.Dial(t.Context(), "unix:"+p.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ping makes imaged's smallest call over a new connection, which it returns.
func (p *process) ping(t *testing.T) *varlink.Client {
	t.Helper()
	c := p.dial(t)
	if _, err := systemdservice.NewClient(c).Ping(t.Context(), systemdservice.PingIn{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// debian is the unpacked trixie with the folders of a store in it, nil where there is none: then peers are missing.
func debian(t *testing.T, d dirs) *interop.Root {
	t.Helper()
	if _, err := os.Stat(os.Getenv("IMAGED_TEST_TRIXIE")); err != nil {
		return nil
	}
	// Big temporary files of the peers belong on the disk, too. The store's folder may be below.
	tmp := filepath.Join(d.dir, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	return interop.Trixie(t).BindAt(tmp, "/var/tmp").Bind(d.dir)
}

// preparePodman prepares podman's service for a store, activated as imaged is.
func preparePodman(t *testing.T, d dirs, root *interop.Root) *process {
	t.Helper()
	return prepare(t, d.dir, "podman", func(args ...string) *exec.Cmd {
		return root.Command(context.Background(), args[0], args[1:]...)
	}, append(append([]string{"podman"}, d.storeArgs()...), "system", "service", "--time", "0")...)
}

func startPodman(t *testing.T, d dirs, root *interop.Root) *process {
	t.Helper()
	p := preparePodman(t, d, root)
	p.begin()
	return p
}

// rest is a client of podman's service.
func (p *process) rest(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.socket)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// request makes a request of podman's service and returns its body, which must not tell of an error.
func request(t *testing.T, c *http.Client, method, path string) []byte {
	t.Helper()
	body, err := tryRequest(t.Context(), c, method, path)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func tryRequest(ctx context.Context, c *http.Client, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://podman/v5.0.0/libpod/"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	err = errors.Join(err, res.Body.Close())
	if err == nil && (res.StatusCode != http.StatusOK || strings.Contains(string(body), `"error":`)) {
		err = fmt.Errorf("podman: %s %s: %s: %s", method, path, res.Status, body)
	}
	return body, err
}

// eventually tries something until it succeeds.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
