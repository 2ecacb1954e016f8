package tests

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/imaged-project/imaged/tests/registrytest"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/info"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// nobody is the user without rights, who has an entry in /etc/passwd and no subordinate ids.
const nobody = 65534

// A daemon of an ordinary user, activated with a listening socket, pulls into a store of that user's.
func TestRootless(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	folder := userFolder(t)
	binary := filepath.Join(folder, "imaged")
	build := exec.Command("go", "build", "-tags", "containers_image_openpgp,exclude_graphdriver_btrfs", "-o", binary, "../cmd/imaged")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	client := varlink.NewClient(activateAs(t, nobody, folder, binary))
	defer func() { _ = client.Close() }()

	own, err := varlink.Dial(t.Context(), startAs(t, nobody, folder, binary))
	if err != nil {
		t.Fatalf("a daemon without addresses is not where its user finds it: %v", err)
	}
	defer func() { _ = own.Close() }()

	registry := registrytest.New(t, registrytest.Options{})
	registry.PushImage(t, "sample:1", registrytest.ImageOptions{})
	pull := transfers.PullIn{Reference: registry.Host() + "/sample:1", TLSVerify: new(false)}
	pulled, err := transfers.NewClient(client).Pull(t.Context(), pull)
	if err != nil {
		t.Fatal(err)
	}
	got, err := images.NewClient(client).Get(t.Context(), images.GetIn{Name: pull.Reference})
	if err != nil || got.Image.ID != pulled.IDs[0] {
		t.Errorf("got %q of %q, %v", got.Image.ID, pulled.IDs, err)
	}
	store, err := info.NewClient(client).GetStore(t.Context(), info.GetStoreIn{})
	if err != nil || !store.Rootless || filepath.Dir(store.GraphRoot) != folder {
		t.Errorf("got %+v, %v", store, err)
	}
	// A path is opened with the daemon's rights: its own user may name one, and nobody else, not even root.
	_, err = transfers.NewClient(client).Load(t.Context(), transfers.LoadIn{Path: new(filepath.Join(folder, "imaged"))})
	if _, denied := errors.AsType[*varlink.PermissionDeniedError](err); !denied {
		t.Errorf("root names a path: %v", err)
	}
}

// userFolder makes a folder that the user may write and reach.
func userFolder(t *testing.T) string {
	folder, err := os.MkdirTemp("", "rootless")
	if err == nil {
		err = os.Chown(folder, nobody, nobody)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	return folder
}

// activateAs starts a daemon as systemd would for the user's service manager, connects to it, and ends it with the test.
func activateAs(t *testing.T, uid uint32, folder, binary string) *net.UnixConn {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(folder, "i.sock")})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	daemon := commandAs(uid, folder, "sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, binary)
	// Without XDG_RUNTIME_DIR, as after su: nothing of root's may take its place.
	daemon.Env = append(daemon.Env, "LISTEN_FDS=1")
	daemon.ExtraFiles = []*os.File{file}
	run(t, daemon)
	conn, err := net.DialUnix("unix", nil, listener.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// startAs starts a daemon as its user does at the shell, waits until it is ready, and returns the user's default address.
func startAs(t *testing.T, uid uint32, folder, binary string) string {
	ready := &net.UnixAddr{Net: "unixgram", Name: filepath.Join(folder, "ready")}
	notified, err := net.ListenUnixgram("unixgram", ready)
	if err == nil {
		err = os.Chmod(ready.Name, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = notified.Close() }()
	daemon := commandAs(uid, folder, binary)
	daemon.Env = append(daemon.Env, "XDG_RUNTIME_DIR="+filepath.Join(folder, "user"), "NOTIFY_SOCKET="+ready.Name)
	run(t, daemon)
	if err := notified.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := notified.Read(make([]byte, 100)); err != nil {
		t.Errorf("the daemon is not ready: %v", err)
	}
	return "unix:" + filepath.Join(folder, "user", "imaged", "imaged.sock")
}

// commandAs is a daemon's command with a store in a folder of the user's.
func commandAs(uid uint32, folder string, command ...string) *exec.Cmd {
	command = append(command, "--root", filepath.Join(folder, "root"), "--runroot", filepath.Join(folder, "run"), "--tmpdir", folder)
	c := exec.Command(command[0], command[1:]...)
	c.Env = []string{"HOME=" + folder, "TMPDIR=" + folder, "PATH=" + os.Getenv("PATH")}
	c.SysProcAttr, c.Stderr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}, os.Stderr
	return c
}

// run starts a daemon, and ends it with the test.
func run(t *testing.T, daemon *exec.Cmd) {
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := daemon.Wait(); err != nil {
			t.Errorf("daemon: %v", err)
		}
	})
}
