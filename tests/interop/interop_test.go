package interop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/interop"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := daemon.Clean(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

func TestRootThrowsAwayWhatIsWritten(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	dir := t.TempDir()
	root.Bind(dir)
	out := root.Run(t, "sh", "-c", `cat /etc/debian_version; echo x >/etc/left; echo kept >"$1/file"`, "sh", dir)
	if !strings.HasPrefix(out, "13") {
		t.Errorf("this is Debian %s, want 13", out)
	}
	if out := root.Run(t, "sh", "-c", "ls /etc/left 2>/dev/null || echo gone"); out != "gone\n" {
		t.Errorf("the next program sees what the last one wrote: %s", out)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(got) != "kept\n" {
		t.Errorf("in a bound directory: %q, %v", got, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{" - tmpfs interop ", " - overlay interop "} {
		if strings.Contains(string(mounts), source) {
			t.Errorf("a mount%sleaked:\n%s", source, mounts)
		}
	}
}

func TestVarlinkctlAcceptsTheInterfaces(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	dir, err := filepath.Abs("../../idl")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.varlink"))
	if err != nil || len(files) == 0 {
		t.Fatalf("interface files: %v, %v", files, err)
	}
	root.Bind(dir)
	for _, file := range files {
		if out, err := root.Try(t, "varlinkctl", "validate-idl", file); err != nil {
			t.Errorf("%s: %v\n%s", filepath.Base(file), err, out)
		}
	}
}

func TestSystemdAcceptsTheUnits(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	for _, scope := range []string{"system", "user"} {
		dir, err := filepath.Abs("../../cmd/imaged/systemd/" + scope)
		if err != nil {
			t.Fatal(err)
		}
		units, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(units) < 2 {
			t.Fatalf("units: %v, %v", units, err)
		}
		// Any program will do for those that the units start.
		root.Bind(dir).BindAt("/bin/true", "/usr/bin/imaged").BindAt("/bin/true", "/bin/kill")
		args := append([]string{"XDG_RUNTIME_DIR=/run", "systemd-analyze", "--" + scope, "--man=no", "verify"}, units...)
		// What it does not know, it only warns of.
		out, err := root.Command(t.Context(), "env", args...).CombinedOutput()
		if err != nil || len(out) != 0 {
			t.Errorf("%s units: %v\n%s", scope, err, out)
		}
	}
}
