package story

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/tests/registrytest"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
)

// patience bounds every wait of a script.
const patience = time.Minute

// world is what a script has around it: its registries and its daemon. One script uses it, from one goroutine.
type world struct {
	folder     string
	registries map[string]*registrytest.Registry
	servers    []*httptest.Server
	stalled    []chan struct{}
	daemon     *daemon
}

func newWorld(env *testscript.Env) *world {
	w := &world{folder: env.WorkDir, registries: map[string]*registrytest.Registry{}}
	env.Defer(func() {
		if err := w.close(); err != nil {
			env.T().Log(err)
			env.T().FailNow()
		}
	})
	return w
}

func (w *world) close() error {
	w.release()
	var err error
	if w.daemon != nil {
		err = w.daemon.stop()
	}
	for _, r := range w.registries {
		r.Close()
	}
	for _, s := range w.servers {
		s.Close()
	}
	return errors.Join(err, unmountBelow(w.folder))
}

// release lets all stalled answers go on.
func (w *world) release() {
	for _, stall := range w.stalled {
		close(stall)
	}
	w.stalled = nil
}

// unmountBelow takes away the mounts that storage drivers leave behind for the next program.
func unmountBelow(folder string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(table)) {
		if point := strings.Fields(line)[4]; strings.HasPrefix(point, folder+"/") {
			errs = append(errs, unix.Unmount(point, unix.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// daemon is an imaged that was started by socket activation.
type daemon struct {
	address string
	command *exec.Cmd
	log     *bytes.Buffer
	ended   sync.WaitGroup
	err     error // how it ended; valid after ended
}

// startDaemon starts imaged on a socket that listens already, so that nobody has to wait for it.
func startDaemon(folder string, environment []string) (*daemon, error) {
	path := filepath.Join(folder, "i.sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }()
	listener.SetUnlinkOnClose(false)
	file, err := listener.File()
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	d := &daemon{address: "unix:" + path, log: &bytes.Buffer{}}
	// LISTEN_PID is the daemon's own id, which only it can know.
	d.command = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, filepath.Join(binaries, "imaged"), "--idle-timeout", "0")
	d.command.Env = append(environment, "LISTEN_FDS=1", "LISTEN_FDNAMES=varlink")
	d.command.Dir = folder
	d.command.ExtraFiles = []*os.File{file}
	d.command.Stderr = d.log
	if err := d.command.Start(); err != nil {
		return nil, err
	}
	d.ended.Go(func() { d.err = d.command.Wait() })
	return d, nil
}

// stop ends it as a service manager does; it must end well.
func (d *daemon) stop() error {
	signalErr := d.command.Process.Signal(syscall.SIGTERM)
	d.ended.Wait()
	if err := errors.Join(signalErr, d.err); err != nil {
		return fmt.Errorf("imaged: %w\n%s", err, d.log)
	}
	return nil
}

// awaitJob asks until the daemon's newest job is as a condition wants it, and gives its id.
func (d *daemon) awaitJob(fits func(jobs.Job) bool) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := varlink.Dial(ctx, d.address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	var newest jobs.Job
	for {
		list, err := jobs.NewClient(conn).List(ctx, jobs.ListIn{})
		if err != nil {
			return "", fmt.Errorf("newest job is %+v: %w", newest, err)
		}
		if len(list.Jobs) > 0 {
			newest = list.Jobs[len(list.Jobs)-1]
			if fits(newest) {
				return newest.ID, nil
			}
		}
		// There is no method that waits for a watcher.
		time.Sleep(5 * time.Millisecond)
	}
}
