package interop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/interop"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// TestAsyncvarlinkPassesDescriptors saves, loads and imports through regular files, pipes and sockets, with a library that
// declares every field itself and takes no other.
func TestAsyncvarlinkPassesDescriptors(t *testing.T) {
	t.Parallel()
	python := interop.Python(t)
	registry := registrytest.New(t, registrytest.Options{})
	registry.PushImage(t, "sample:latest", registrytest.ImageOptions{LayerSize: 1 << 20})
	d := daemon.Start(t, daemon.Options{})
	image := registry.Ref("sample:latest")
	var pulled struct{ IDs []string }
	d.Call(t, "io.imaged.transfers.Pull", pullArgs(image)).Into(t, &pulled)
	root := filepath.Join(t.TempDir(), "rootfs.tar")
	write(t, root, rootfs(t))
	d.Call(t, "io.imaged.images.Exists", fmt.Sprintf(`{"name":%q}`, image)) // opens what reading keeps open
	before := d.Descriptors(t)

	out, err := exec.CommandContext(t.Context(), python, "testdata/descriptors.py", d.Socket, image, root).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr(err))
	}
	var got struct {
		Saved    map[string]bool
		Sizes    map[string][2]int64
		Loaded   map[string][]string
		Imported map[string]string
		Streams  map[string][2]bool
		Errors   map[string]string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, kind := range []string{"file", "pipe", "socket"} {
		if !got.Saved[kind] {
			t.Errorf("a %s got other bytes than a file", kind)
		}
		if size := got.Sizes[kind]; size[0] != size[1] || size[0] == 0 {
			t.Errorf("a %s got %d bytes, the reply says %d", kind, size[1], size[0])
		}
		if !slices.Equal(got.Loaded[kind], pulled.IDs) {
			t.Errorf("loaded from a %s: %v, want %v", kind, got.Loaded[kind], pulled.IDs)
		}
		if len(got.Imported[kind]) != 64 {
			t.Errorf("imported from a %s: %q", kind, got.Imported[kind])
		}
		if reason := got.Errors["garbage from a "+kind]; !strings.HasPrefix(reason, "io.imaged.transfers.InvalidArchive: ") {
			t.Errorf("garbage from a %s: %q", kind, reason)
		}
	}
	for _, method := range []string{"Save", "Load", "Import"} {
		if got.Streams[method] != [2]bool{true, true} {
			t.Errorf("%s with more has a job and a result: %v", method, got.Streams[method])
		}
	}
	invalid := invalidParameter + " {'parameter': 'fileDescriptor'}"
	for name, want := range map[string]string{
		"read only": invalid, "write only": invalid, "a device": invalid,
		"no bytes": "io.imaged.transfers.InvalidArchive: ",
	} {
		if !strings.HasPrefix(got.Errors[name], want) {
			t.Errorf("%s: %q, want %s", name, got.Errors[name], want)
		}
	}
	daemon.Await(t, "the daemon has no more descriptors than before", func() bool { return d.Descriptors(t) <= before })
}

// stderr is what a program said that failed.
func stderr(err error) []byte {
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return failed.Stderr
	}
	return nil
}
