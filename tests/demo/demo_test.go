package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	built "github.com/imaged-project/imaged/tests/daemon"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := built.Clean(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

// place returns the folder of the commands, and one for the demo to work in,
// which it must leave empty.
func place(t *testing.T) (bin, dir string) {
	t.Helper()
	bin = filepath.Dir(built.Binary(t, "imagectl"))
	if os.Getuid() != 0 {
		t.Skip("the demo's store wants root")
	}
	dir = t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 0 {
			t.Errorf("the demo left %v (%v)", left, err)
		}
	})
	return bin, dir
}

func TestDemo(t *testing.T) {
	bin, _ := place(t)
	var stdout, stderr bytes.Buffer
	if code := Main(t.Context(), []string{"-bin", bin, "-rate", "0"}, &stdout, &stderr); code != exitDone {
		t.Errorf("exit code %d\n%s%s", code, &stdout, &stderr)
	}
	for _, want := range []string{"$ imagectl pull", "/sample:latest", "6 layers", "ended well"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the demo does not show %q:\n%s", want, &stdout)
		}
	}
}

func TestInterruptedDemoLeavesNothing(t *testing.T) {
	bin, _ := place(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	// The engine's first line comes when it has begun.
	stderr := &trigger{text: "Copying blob", action: interrupt}
	var stdout bytes.Buffer
	if code := Main(ctx, []string{"-bin", bin, "-rate", "1000000"}, &stdout, stderr); code != exitInterrupted {
		t.Errorf("exit code %d\n%s%s", code, &stdout, stderr.seen.String())
	}
}

func TestDemoWithoutCommandsFails(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var stdout, stderr bytes.Buffer
	if code := Main(t.Context(), []string{"-bin", t.TempDir(), "-rate", "0"}, &stdout, &stderr); code != exitFailed {
		t.Errorf("exit code %d\n%s%s", code, &stdout, &stderr)
	}
}

// trigger is a writer that does something when a text was written to it.
type trigger struct {
	text   string
	action func()

	mu   sync.Mutex // guards seen
	seen strings.Builder
}

// Write implements [io.Writer].
func (w *trigger) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.seen.Write(p)
	if strings.Contains(w.seen.String(), w.text) {
		w.action()
	}
	return n, err
}

func TestMountsIn(t *testing.T) {
	t.Parallel()
	const mountinfo = `22 1 8:1 / / rw - ext4 /dev/sda rw
30 22 8:1 /var/tmp/x/root/overlay /var/tmp/x/root/overlay rw - ext4 /dev/sda rw
31 30 0:50 / /var/tmp/x/root/overlay/a/merged rw - overlay overlay rw
32 22 8:1 / /var/tmp/xy rw - ext4 /dev/sda rw
`
	want := []string{"/var/tmp/x/root/overlay/a/merged", "/var/tmp/x/root/overlay"}
	if diff := cmp.Diff(want, mountsIn([]byte(mountinfo), "/var/tmp/x")); diff != "" {
		t.Error(diff)
	}
}
