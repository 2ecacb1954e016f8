package wire_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

func slowImage() registrytest.ImageOptions {
	return registrytest.ImageOptions{Layers: 4, LayerSize: 1 << 20}
}

// socketpair returns a connection and the file of its other end.
func socketpair(t testing.TB) (*daemon.Conn, *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "ours")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return daemon.NewConn(conn.(*net.UnixConn)), os.NewFile(uintptr(fds[1]), "theirs")
}

// listener returns the file of a socket that listens.
func listener(t testing.TB, path string) *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// TestActivation starts the daemon three times on the same sockets, as a service manager does after an idle exit, and makes
// many calls in a row and at once.
func TestActivation(t *testing.T) {
	t.Parallel()
	d := daemon.Prepare(t, daemon.Options{})
	full, readOnly := listener(t, d.Socket), listener(t, d.ReadOnlySocket)
	inode := func() uint64 {
		info, err := os.Stat(d.Socket)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Ino
	}
	before := inode()
	for range 3 {
		d := daemon.Prepare(t, daemon.Options{Dir: d.Dir})
		early := d.Dial(t) // before there is a daemon
		if err := early.Send("io.systemd.service.Ping", ""); err != nil {
			t.Fatal(err)
		}
		cmd := activated(d, d.Command(t, append(d.StoreArgs(), "--idle-timeout", "200ms")...), "varlink", "varlink-ro")
		cmd.ExtraFiles = []*os.File{full, readOnly}
		d.Run(t, cmd, false)
		if r, err := early.Read(); err != nil {
			t.Fatalf("%s, %v", r.Raw, err)
		}
		for range 10 {
			if r := d.Call(t, "io.systemd.service.Ping", ""); r.Error != "" {
				t.Errorf("%s", r.Raw)
			}
		}
		limited := daemon.Dial(t, d.ReadOnlySocket)
		r := limited.Call(t, "io.imaged.images.Prune", "")
		if _ = limited.Close(); r.Error != permissionDenied {
			t.Errorf("on the read-only socket: %s", r.Raw)
		}
		env := d.Call(t, "io.systemd.service.GetEnvironment", "")
		if strings.Contains(string(env.Raw), "LISTEN_") {
			t.Errorf("the variables of the activation are left: %s", env.Raw)
		}
		_ = early.Close()
		if err := d.Wait(); err != nil {
			t.Errorf("imaged ended: %v", err)
		}
	}
	if inode() != before {
		t.Error("the socket was made anew")
	}
}

// TestActivationLeavesOtherSocketsAlone, if some are named as its own.
func TestActivationLeavesOtherSocketsAlone(t *testing.T) {
	t.Parallel()
	d := daemon.Prepare(t, daemon.Options{})
	other, readOnly := listener(t, d.Socket), listener(t, d.ReadOnlySocket)
	cmd := activated(d, d.Command(t, d.StoreArgs()...), "other", "varlink-ro")
	cmd.ExtraFiles = []*os.File{other, readOnly}
	d.Run(t, cmd, false)
	wantPing(t, daemon.Dial(t, d.ReadOnlySocket))
	if err := other.Close(); err != nil { // the last copy, if the daemon has none
		t.Fatal(err)
	}
	if _, err := net.Dial("unix", d.Socket); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the other socket is served: %v", err)
	}
}

func TestIdleExit(t *testing.T) {
	t.Parallel()
	slow := stall(t)
	d := daemon.Prepare(t, daemon.Options{})
	cmd := activated(d, d.Command(t, append(d.StoreArgs(), "--idle-timeout", "100ms")...), "varlink")
	cmd.ExtraFiles = []*os.File{listener(t, d.Socket)}
	d.Run(t, cmd, false)
	c := d.Dial(t)
	job := startJob(t, c, pull(slow.Ref("slow:1"), `"detach":true`))
	_ = c.Close()
	time.Sleep(500 * time.Millisecond) // several times the idle timeout
	// A detached job and an open connection are no idleness.
	c = d.Dial(t)
	if r := c.Call(t, "io.imaged.jobs.Cancel", fmt.Sprintf(`{"job":%q}`, job)); r.Error != "" {
		t.Errorf("%s", r.Raw)
	}
	time.Sleep(500 * time.Millisecond)
	wantPing(t, c)
	_ = c.Close()
	if err := d.Wait(); err != nil {
		t.Errorf("imaged ended: %v", err)
	}
}

func TestTermDuringAPull(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			slow := stall(t)
			d := daemon.Start(t, daemon.Options{})
			streamed, plain, waiting, idle := d.Dial(t), d.Dial(t), d.Dial(t), d.Dial(t)
			job := startJob(t, streamed, pull(slow.Ref("slow:1")))
			if err := errors.Join(plain.Send("io.imaged.transfers.Pull", pull(slow.Ref("slow:1"))),
				waiting.Send("io.imaged.jobs.Wait", fmt.Sprintf(`{"job":%q}`, job))); err != nil {
				t.Fatal(err)
			}
			awaitWatchers(t, d, job, 2)
			d.Signal(signal)
			for _, c := range []*daemon.Conn{streamed, plain} {
				r := lastReply(t, c)
				checkError(t, contracts["io.imaged.transfers"], r)
				if r.Error != "io.imaged.transfers.Cancelled" || r.Text("job") != job {
					t.Errorf("%s", r.Raw)
				}
			}
			if r := lastReply(t, waiting); r.Error != "io.imaged.jobs.Cancelled" && !strings.Contains(string(r.Raw), `"cancelled"`) {
				t.Errorf("Wait: %s", r.Raw)
			}
			if err := idle.Gone(); err != nil {
				t.Error(err)
			}
			if err := d.Wait(); err != nil {
				t.Errorf("imaged ended: %v", err)
			}
			if _, err := os.Stat(d.Socket); err == nil {
				t.Error("the socket is still there")
			}
			if left := slices.Concat(d.Temporary(t), d.Layers(t)); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestKilledCopyLeavesNothing kills the daemon while it writes to paths: the next one removes what it finds there, and the
// same calls succeed.
func TestKilledCopyLeavesNothing(t *testing.T) {
	t.Parallel()
	slow := registrytest.New(t, registrytest.Options{})
	slow.PushImage(t, "slow:1", registrytest.ImageOptions{LayerSize: 1 << 20})
	held := make(chan struct{})
	defer close(held)
	slow.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Fault: registrytest.Fault{Stall: held, After: 200_000}})
	d := daemon.Start(t, daemon.Options{Fails: true})
	out := filepath.Join(d.Dir, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, to := range []string{"docker-archive:%s/a", "oci-archive:%s/b", "oci:%s/c", "dir:%s/d"} {
		calls = append(calls, fmt.Sprintf(`{"source":%q,"destination":%q,"sourceTlsVerify":false}`, "docker://"+slow.Ref("slow:1"), fmt.Sprintf(to, out)))
		c := d.Dial(t)
		if err := c.Send("io.imaged.transfers.Copy", calls[len(calls)-1], "more"); err != nil {
			t.Fatal(err)
		}
		r, err := c.Read()
		if err != nil || r.Text("job") == "" {
			t.Fatalf("%s, %v", r.Raw, err)
		}
		awaitBytes(t, d, r.Text("job"))
	}
	d.Signal(syscall.SIGKILL)
	_ = d.Wait() // it was killed
	slow.Behave()
	d = daemon.Start(t, daemon.Options{Dir: d.Dir})
	if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	for _, call := range calls {
		if r := d.Call(t, "io.imaged.transfers.Copy", call); r.Error != "" {
			t.Errorf("again: %s", r.Raw)
		}
	}
}

// lastReply reads a stream to its end.
func lastReply(t testing.TB, c *daemon.Conn) daemon.Reply {
	t.Helper()
	for {
		r, err := c.Read()
		if err != nil {
			t.Fatalf("%s, %v", r.Raw, err)
		}
		if !r.Continues {
			return r
		}
	}
}

// state is a job as it is listed.
type state struct {
	ID, State string
	Watchers  int
	Progress  *struct{ Done int64 }
}

func jobState(t testing.TB, c *daemon.Conn, id string) state {
	t.Helper()
	var list struct{ Jobs []state }
	c.Call(t, "io.imaged.jobs.List", "").Into(t, &list)
	i := slices.IndexFunc(list.Jobs, func(s state) bool { return s.ID == id })
	if i < 0 {
		t.Fatalf("no job %s in %+v", id, list.Jobs)
	}
	return list.Jobs[i]
}

func awaitWatchers(t testing.TB, d *daemon.Daemon, job string, n int) {
	t.Helper()
	c := d.Dial(t)
	defer func() { _ = c.Close() }()
	daemon.Await(t, fmt.Sprintf("%d watch the job", n), func() bool { return jobState(t, c, job).Watchers == n })
}

// awaitBytes waits until a pull has received something of a layer.
func awaitBytes(t testing.TB, d *daemon.Daemon, job string) {
	t.Helper()
	c := d.Dial(t)
	defer func() { _ = c.Close() }()
	daemon.Await(t, "the pull has bytes", func() bool {
		s := jobState(t, c, job)
		return s.Progress != nil && s.Progress.Done > 100_000
	})
}

// wantEmpty makes sure that a store has nothing, and nothing that a later pull or prune would trip over.
func wantEmpty(t testing.TB, d *daemon.Daemon) {
	t.Helper()
	if err := d.Quiet(t); err != nil {
		t.Error(err)
	}
	daemon.Await(t, "the store has no layers", func() bool { return len(d.Layers(t)) == 0 })
	if r := d.Call(t, "io.imaged.images.List", `{"all":true}`); string(r.Parameters) != `{"images":[]}` {
		t.Errorf("%s", r.Raw)
	}
}

// TestHangUpCancelsWithinATenthOfASecond is not parallel: it measures.
func TestHangUpCancelsWithinATenthOfASecond(t *testing.T) {
	for _, flags := range [][]string{{"more"}, nil} {
		took := hangUp(t, flags...)
		for range 2 { // on a busy machine it may be late now and then
			if took > 100*time.Millisecond {
				took = min(took, hangUp(t, flags...))
			}
		}
		if took > 100*time.Millisecond {
			t.Errorf("%v: the job ended after %s", flags, took)
		}
	}
}

// hangUp leaves a pull in its middle and returns how long its job goes on.
func hangUp(t *testing.T, flags ...string) time.Duration {
	t.Helper()
	slow := stall(t)
	d := daemon.Start(t, daemon.Options{})
	c := d.Dial(t)
	var job string
	if flags != nil {
		job = startJob(t, c, pull(slow.Ref("slow:1")))
	} else {
		if err := c.Send("io.imaged.transfers.Pull", pull(slow.Ref("slow:1"))); err != nil {
			t.Fatal(err)
		}
		job = onlyJob(t, d)
	}
	awaitBytes(t, d, job)
	watcher := d.Dial(t)
	if err := watcher.Send("io.imaged.jobs.Wait", fmt.Sprintf(`{"job":%q}`, job)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r, err := watcher.Read()
	took := time.Since(began)
	if err != nil || !strings.Contains(string(r.Raw), `"cancelled"`) {
		t.Errorf("%s, %v", r.Raw, err)
	}
	wantEmpty(t, d)
	// Nothing is in the way of the next one.
	slow.Behave()
	if r := d.Call(t, "io.imaged.transfers.Pull", pull(slow.Ref("slow:1"))); r.Error != "" {
		t.Errorf("the next pull: %s", r.Raw)
	}
	return took
}

func onlyJob(t testing.TB, d *daemon.Daemon) string {
	t.Helper()
	c := d.Dial(t)
	defer func() { _ = c.Close() }()
	var list struct{ Jobs []state }
	daemon.Await(t, "there is a job", func() bool {
		c.Call(t, "io.imaged.jobs.List", "").Into(t, &list)
		return len(list.Jobs) == 1
	})
	return list.Jobs[0].ID
}

// TestSecondClientJoins lets either of two clients leave: the other gets all of it, and there is one download.
func TestSecondClientJoins(t *testing.T) {
	t.Parallel()
	for leaver := range 2 {
		t.Run([]string{"the first leaves", "the second leaves"}[leaver], func(t *testing.T) {
			t.Parallel()
			held := make(chan struct{})
			r := registrytest.New(t, registrytest.Options{})
			r.PushImage(t, "slow:1", registrytest.ImageOptions{LayerSize: 1 << 20})
			r.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Skip: 1, Fault: registrytest.Fault{Stall: held, After: 100_000}})
			d := daemon.Start(t, daemon.Options{})
			both := []*daemon.Conn{d.Dial(t), d.Dial(t)}
			first := startJob(t, both[0], pull(r.Ref("slow:1")))
			awaitBytes(t, d, first)
			if second := startJob(t, both[1], pull(r.Ref("slow:1"))); second != first {
				t.Errorf("two jobs: %s and %s", first, second)
			}
			awaitWatchers(t, d, first, 2)
			if err := both[leaver].Close(); err != nil {
				t.Fatal(err)
			}
			awaitWatchers(t, d, first, 1)
			close(held)
			last := lastReply(t, both[1-leaver])
			var result struct{ IDs, Names []string }
			last.Into(t, &result)
			if len(result.IDs) != 1 || len(result.Names) != 1 || result.Names[0] != r.Ref("slow:1") {
				t.Errorf("%s", last.Raw)
			}
			for digest, n := range r.Downloads() {
				if n != 1 {
					t.Errorf("%s was downloaded %d times", digest, n)
				}
			}
		})
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	r := registrytest.New(t, registrytest.Options{})
	r.PushImage(t, "slow:1", registrytest.ImageOptions{})
	r.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Skip: 1, Fault: registrytest.Fault{Stall: held}})
	d := daemon.Start(t, daemon.Options{})
	c := d.Dial(t)
	job := startJob(t, c, pull(r.Ref("slow:1"), `"detach":true`))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	awaitWatchers(t, d, job, 0)
	attached := d.Dial(t)
	if err := attached.Send("io.imaged.jobs.Attach", fmt.Sprintf(`{"job":%q}`, job), "more"); err != nil {
		t.Fatal(err)
	}
	awaitWatchers(t, d, job, 1)
	if first, err := attached.Read(); err != nil || string(first.Parameters) != fmt.Sprintf(`{"job":%q}`, job) { // as its starter got it
		t.Errorf("%s, %v", first.Raw, err)
	}
	close(held)
	last := lastReply(t, attached)
	checkReply(t, method{contracts["io.imaged.jobs"].Methods[1], contracts["io.imaged.jobs"]}, last)
	var names []string
	if err := json.Unmarshal([]byte(last.Field("names")), &names); err != nil || !slices.Equal(names, []string{r.Ref("slow:1")}) {
		t.Errorf("%s", last.Raw)
	}
	if r := d.Call(t, "io.imaged.images.Exists", fmt.Sprintf(`{"name":%q}`, r.Ref("slow:1"))); string(r.Parameters) != `{"exists":true}` {
		t.Errorf("%s", r.Raw)
	}
}

// TestReload changes the configuration under a daemon that runs.
func TestReload(t *testing.T) {
	t.Parallel()
	d := daemon.Start(t, daemon.Options{})
	resolve := func() string { return d.Call(t, "io.imaged.images.Resolve", `{"name":"nothing"}`).Field("references") }
	if got := resolve(); got != `["docker.io/library/nothing:latest"]` {
		t.Fatalf("before: %s", got)
	}
	d.Write(t, "registries.conf", "unqualified-search-registries = [\"one.example\", \"two.example\"]\n")
	d.Signal(syscall.SIGHUP)
	daemon.Await(t, "the new registries are asked", func() bool {
		return resolve() == `["one.example/nothing:latest","two.example/nothing:latest"]`
	})
	d.Write(t, "registries.conf", "this is no TOML")
	d.Signal(syscall.SIGHUP)
	daemon.Await(t, "the log says what is wrong", func() bool { return strings.Contains(d.Log(), "reading the configuration anew") })
	if r := d.Call(t, "io.imaged.images.Resolve", `{"name":"nothing"}`); r.Field("references") != `["one.example/nothing:latest","two.example/nothing:latest"]` {
		t.Errorf("after a broken file: %s", r.Raw)
	}
	wantPing(t, d.Dial(t))
}

func TestSecondDaemonOnOneSocket(t *testing.T) {
	t.Parallel()
	d := daemon.Start(t, daemon.Options{})
	second := daemon.Prepare(t, daemon.Options{})
	cmd := second.Command(t, append(second.StoreArgs(), "--address", "unix:"+d.Socket)...)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), filepath.Base(d.Socket)) {
		t.Errorf("%v: %s", err, out)
	}
	wantPing(t, d.Dial(t))
}
