package wire_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

const permissionDenied = "org.varlink.service.PermissionDenied"

// forOwner are the methods that only root and the daemon's own user may call, wherever.
var forOwner = map[string]bool{"io.systemd.service.SetLogLevel": true, "io.systemd.service.GetEnvironment": true}

func TestReadOnlySocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nobody, err := daemon.DialAs(t, w.ReadOnlySocket, daemon.Nobody)
	if err != nil {
		t.Fatal(err)
	}
	for user, c := range map[string]*daemon.Conn{"root": daemon.Dial(t, w.ReadOnlySocket), "nobody": nobody} {
		for _, m := range w.methods {
			if m.readOnly() && rows[m.full()].endless {
				continue
			}
			r := c.Call(t, m.full(), w.expand(rows[m.full()].in), "more")
			checkReply(t, m, r)
			denied := r.Error == permissionDenied
			if want := !m.readOnly(); denied != want {
				t.Errorf("%s calls %s: denied: %t, want %t: %s", user, m.full(), denied, want, r.Raw)
			}
		}
	}
}

func TestFullSocketIsTheOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	info, err := os.Stat(w.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v (%v)", info.Mode(), err)
	}
	if _, err := daemon.DialAs(t, w.Socket, daemon.Nobody); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("nobody connects: %v", err)
	}
}

// TestAbstractSocket has no mode, so the peer's uid must do.
func TestAbstractSocket(t *testing.T) {
	t.Parallel()
	full := fmt.Sprintf("@imaged-test-%d", os.Getpid())
	readOnly := full + "-ro"
	daemon.Start(t, daemon.Options{Args: []string{"--address", "unix:" + full, "--read-only-address", "unix:" + readOnly}})
	for _, c := range []struct {
		path, method string
		uid          int
		want         string
	}{
		{full, "io.imaged.images.Prune", 0, ""},
		{full, "io.imaged.images.Prune", daemon.Nobody, permissionDenied},
		{full, "io.imaged.images.List", daemon.Nobody, permissionDenied},
		{full, "org.varlink.service.GetInfo", daemon.Nobody, ""},
		{readOnly, "io.imaged.images.List", daemon.Nobody, ""},
		{readOnly, "io.imaged.images.Prune", daemon.Nobody, permissionDenied},
	} {
		conn, err := daemon.DialAs(t, c.path, c.uid)
		if err != nil {
			t.Fatal(err)
		}
		if r := conn.Call(t, c.method, ""); r.Error != c.want {
			t.Errorf("%d calls %s on %s: %s", c.uid, c.method, c.path, r.Raw)
		}
	}
}

// open lets everybody in, as an operator may who trusts a group.
func (w *world) open(t testing.TB) {
	t.Helper()
	if err := os.Chmod(w.Socket, 0o666); err != nil {
		t.Fatal(err)
	}
}

func (w *world) dialAs(t testing.TB, uid int) *daemon.Conn {
	t.Helper()
	c, err := daemon.DialAs(t, w.Socket, uid)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOtherUsersOnTheFullSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(t)
	c := w.dialAs(t, daemon.Nobody)
	for _, m := range w.methods {
		if rows[m.full()].endless {
			continue
		}
		in := w.expand(rows[m.full()].in)
		if before := rows[m.full()].before; before != nil {
			before(t, w)
		}
		r := c.Call(t, m.full(), in, "more")
		checkReply(t, m, r)
		// A path on the host is opened with the daemon's rights, so only its own user may name one.
		want := forOwner[m.full()] || strings.Contains(in, `"path":`)
		if denied := r.Error == permissionDenied; denied != want {
			t.Errorf("nobody calls %s: denied: %t, want %t: %s", m.full(), denied, want, r.Raw)
		}
	}
	for _, transport := range []string{"docker-archive", "oci-archive", "oci", "dir"} {
		in := fmt.Sprintf(`{"reference":"%s:/etc/passwd"}`, transport)
		if r := c.Call(t, "io.imaged.transfers.Pull", in); r.Error != permissionDenied {
			t.Errorf("nobody pulls %s: %s", in, r.Raw)
		}
	}
	for _, transport := range []string{"containers-storage", "docker-daemon", "tarball", "sif", "ostree", "atomic"} {
		in := fmt.Sprintf(`{"reference":"%s:/etc/passwd"}`, transport)
		if r := c.Call(t, "io.imaged.transfers.Pull", in); r.Error != "io.imaged.transfers.InvalidReference" {
			t.Errorf("nobody pulls %s: %s", in, r.Raw)
		}
	}
}

// stall makes a registry that holds a layer back until the test ends.
func stall(t testing.TB) *registrytest.Registry {
	t.Helper()
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	r := registrytest.New(t, registrytest.Options{})
	r.PushImage(t, "slow:1", registrytest.ImageOptions{LayerSize: 1 << 20})
	r.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Skip: 1, Fault: registrytest.Fault{Stall: held, After: 100_000}})
	return r
}

// pull are the parameters of a pull from a test registry, with more of them.
func pull(reference string, more ...string) string {
	return fmt.Sprintf(`{"reference":%q,"tlsVerify":false%s}`, reference, strings.Join(append([]string{""}, more...), ","))
}

// startJob starts a pull with more and returns the id of its job.
func startJob(t testing.TB, c *daemon.Conn, parameters string) string {
	t.Helper()
	if err := c.Send("io.imaged.transfers.Pull", parameters, "more"); err != nil {
		t.Fatal(err)
	}
	r, err := c.Read()
	if err != nil || r.Text("job") == "" {
		t.Fatalf("%s, %v", r.Raw, err)
	}
	return r.Text("job")
}

func TestJobsOfOthersCannotBeSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(t)
	slow := stall(t)
	// The same pull by different users is different jobs: what one may see must not depend on another.
	users := []int{0, daemon.Nobody, daemon.Nobody - 1}
	ids := map[int]string{}
	for _, uid := range users {
		ids[uid] = startJob(t, w.dialAs(t, uid), pull(slow.Ref("slow:1")))
	}
	for _, uid := range users {
		c := w.dialAs(t, uid)
		var list struct {
			Jobs []struct {
				ID  string
				UID int
			}
		}
		c.Call(t, "io.imaged.jobs.List", "").Into(t, &list)
		for _, j := range list.Jobs {
			if uid != 0 && j.UID != uid {
				t.Errorf("%d sees a job of %d", uid, j.UID)
			}
		}
		for _, owner := range users {
			if uid == 0 || uid == owner {
				continue
			}
			for _, m := range []string{"Attach", "Wait", "Cancel"} {
				r := c.Call(t, "io.imaged.jobs."+m, fmt.Sprintf(`{"job":%q}`, ids[owner]), "more")
				if r.Error != "io.imaged.jobs.JobNotFound" {
					t.Errorf("%d calls %s of a job of %d: %s", uid, m, owner, r.Raw)
				}
			}
		}
	}
	for _, uid := range users[1:] {
		c := w.dialAs(t, uid)
		if r := c.Call(t, "io.imaged.jobs.Cancel", fmt.Sprintf(`{"job":%q}`, ids[uid])); r.Error != "" {
			t.Errorf("%d cancels its own job: %s", uid, r.Raw)
		}
		var one struct{ Job struct{ State string } }
		r := c.Call(t, "io.imaged.jobs.Wait", fmt.Sprintf(`{"job":%q}`, ids[uid]))
		if json.Unmarshal(r.Parameters, &one) != nil || one.Job.State != "cancelled" {
			t.Errorf("%s", r.Raw)
		}
	}
	// Root is the daemon's own user here: it sees, and ends, what belongs to anybody.
	if r := w.Call(t, "io.imaged.jobs.Wait", fmt.Sprintf(`{"job":%q}`, ids[daemon.Nobody])); r.Error != "" {
		t.Errorf("root waits for the job of another: %s", r.Raw)
	}
}
