package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// update rewrites golden files and scripts instead of comparing with them.
var updateGolden = os.Getenv("UPDATE_GOLDEN") != ""

type leakChecked struct{ m *testing.M }

// Run implements testscript.TestingM.
func (l leakChecked) Run() int {
	code := l.m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"imagectl": main})
}

// TestScripts runs the real main against a server on a real socket, whose answers testserver_test.go writes.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       updateGolden,
		Setup: func(env *testscript.Env) error {
			server, err := startServer(filepath.Join(env.WorkDir, "i.sock"))
			if err != nil {
				return err
			}
			env.Defer(server.stop)
			env.Values["server"] = server
			env.Setenv("IMAGED_ADDRESS", server.address)
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir)
			program, err := exec.LookPath("imagectl")
			if err != nil {
				return err
			}
			env.Setenv("BIN", filepath.Dir(program))
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each run takes a second longer under the race detector
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits,
			"await": cmdAwait,
		},
	})
}

// cmdExits runs a command and compares its exit code: exits CODE COMMAND...
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdAwait waits until the server's slow method runs: await pulling; or saw its client leave: await cancelled.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await pulling|cancelled")
	}
	server := ts.Value("server").(*testServer)
	select {
	case <-map[string]chan struct{}{"pulling": server.pulling, "cancelled": server.cancelled}[args[0]]:
	case <-time.After(30 * time.Second):
		ts.Fatalf("not %s after 30 s", args[0])
	}
}

// golden compares a text with a file of testdata/golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if updateGolden {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// testStreams are streams without terminals whose clock stands still.
func testStreams(in string) (s Streams, out, err *bytes.Buffer) {
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	return Streams{
		In: strings.NewReader(in), Out: out, Err: err,
		Getenv: func(string) string { return "" },
		Now:    func() time.Time { return time.Date(2026, 10, 4, 12, 0, 0, 0, time.UTC) },
	}, out, err
}
