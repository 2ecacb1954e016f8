package gen_test

import (
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/idl"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/info"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
	"github.com/imaged-project/imaged/varlink/gen/systemdservice"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// all returns every generated interface by its name.
func all() map[string]varlink.Interface {
	return map[string]varlink.Interface{
		images.Interface:         images.New(images.Unimplemented{}),
		info.Interface:           info.New(info.Unimplemented{}),
		jobs.Interface:           jobs.New(jobs.Unimplemented{}),
		systemdservice.Interface: systemdservice.New(systemdservice.Unimplemented{}),
		transfers.Interface:      transfers.New(transfers.Unimplemented{}),
	}
}

func TestEveryInterfaceFileHasItsPackage(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(idl.Names(), slices.Sorted(maps.Keys(all()))); diff != "" {
		t.Errorf("interface files and generated packages differ (-files +packages):\n%s", diff)
	}
}

// TestFilesAreServedByteForByte asks a server of all interfaces for the text of each.
func TestFilesAreServedByteForByte(t *testing.T) {
	t.Parallel()
	client := serveAll(t)
	for name := range all() {
		want, err := os.ReadFile(filepath.Join("..", "..", "idl", name+".varlink"))
		if err != nil {
			t.Fatal(err)
		}
		var out struct {
			Description string `json:"description"`
		}
		in := map[string]string{"interface": name}
		if err := client.Call(t.Context(), varlink.ServiceInterface+".GetInterfaceDescription", in, &out); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(string(want), out.Description); diff != "" {
			t.Errorf("%s is served differently (-file +served):\n%s", name, diff)
		}
	}
}

// serveAll serves every interface on one end of a socket pair and returns a client on the other.
func serveAll(t *testing.T) *varlink.Client {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var server varlink.Server
	for name, i := range all() {
		if err := server.Register(i); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	ours, client := unixConn(t, fds[0]), varlink.NewClient(unixConn(t, fds[1]))
	done := make(chan error, 1)
	go func() { done <- server.ServeConn(ours) }()
	t.Cleanup(func() {
		client.Close()
		if err := <-done; err != nil {
			t.Errorf("ServeConn: %v", err)
		}
	})
	return client
}

func unixConn(t *testing.T, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket pair")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}
