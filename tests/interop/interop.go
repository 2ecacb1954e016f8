// Package interop runs programs of other projects against imaged: varlinkctl,
// python3-varlink, podman, buildah and skopeo of Debian trixie, out of a root of
// their own that make trixie unpacks, those of this machine, and asyncvarlink in
// an environment that make python makes.
//
// It may be imported by tests only, and imports of imaged only package daemon.
package interop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Variables of the environment that the Makefile sets.
const (
	trixieVariable = "IMAGED_TEST_TRIXIE" // the unpacked Debian
	pythonVariable = "IMAGED_TEST_PYTHON" // the Python environment
)

// whole is the file that make-trixie and make-python leave when all is in place.
const whole = ".whole"

// Missing ends a test for which this machine lacks something: it is skipped, and
// fails in CI, where nothing may be missing.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("interop: "+format, args...)
	}
	t.Skipf(format, args...)
}

// Root is a view of the unpacked Debian for one test. What programs in it write
// is thrown away when they end, except in bound directories.
type Root struct {
	dir   string // the unpacked Debian
	mount string // where programs get their view of it
	binds []string
}

// Trixie returns a root for this test. Without root's rights or the unpacked
// Debian the test is skipped, in CI failed.
func Trixie(t testing.TB) *Root {
	t.Helper()
	dir := os.Getenv(trixieVariable)
	if dir == "" {
		dir = cached("trixie")
	}
	if os.Getuid() != 0 {
		Missing(t, "only root can run programs of another Debian")
	}
	if _, err := os.Stat(filepath.Join(dir, whole)); err != nil {
		Missing(t, "no Debian trixie in %s: make trixie", dir)
	}
	return &Root{dir: dir, mount: t.TempDir()}
}

// cached is where make puts what it unpacks or makes for tests.
func cached(name string) string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "imaged", name)
}

// Python returns the path of a Python that has asyncvarlink; without it the test
// is skipped, in CI failed.
func Python(t testing.TB) string {
	t.Helper()
	dir := os.Getenv(pythonVariable)
	if dir == "" {
		dir = cached("python")
	}
	if _, err := os.Stat(filepath.Join(dir, whole)); err != nil {
		Missing(t, "no Python environment in %s: make python", dir)
	}
	return filepath.Join(dir, "bin", "python3")
}

// Bind makes files or directories of the host visible at the same path inside,
// writable. It returns r.
func (r *Root) Bind(paths ...string) *Root {
	for _, path := range paths {
		r.binds = append(r.binds, path, path)
	}
	return r
}

// BindAt makes a file or directory of the host visible at another path inside.
// It returns r.
func (r *Root) BindAt(path, inside string) *Root {
	r.binds = append(r.binds, path, inside)
	return r
}

// enter is run in a mount namespace of its own, which ends with the program: it
// puts a throw-away layer over the root, binds what was asked for, and becomes
// the program. Arguments: root, mount point, number of binds, binds, program.
const enter = `
set -e
lower=$1 mount=$2 binds=$3
shift 3
mount -t tmpfs -o mode=0755 interop "$mount"
mkdir "$mount/upper" "$mount/work" "$mount/root"
mount -t overlay interop -o "lowerdir=$lower,upperdir=$mount/upper,workdir=$mount/work" "$mount/root"
for part in proc sys dev; do
	mount --rbind "/$part" "$mount/root/$part"
done
while [ "$binds" -gt 0 ]; do
	if [ -d "$1" ]; then
		mkdir -p "$mount/root/$2"
	else
		mkdir -p "$(dirname "$mount/root/$2")"
		: >>"$mount/root/$2"
	fi
	mount --rbind "$1" "$mount/root/$2"
	shift 2
	binds=$((binds - 1))
done
exec chroot "$mount/root" "$@"
`

// Command returns a program of the root with its arguments, ready to be
// started. Its environment has nothing of the test's; it is killed when ctx ends
// or when the test process dies.
func (r *Root) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	all := []string{
		"--mount", "--propagation", "private",
		"sh", "-c", enter, "enter", r.dir, r.mount, fmt.Sprint(len(r.binds) / 2),
	}
	all = append(all, r.binds...)
	all = append(append(all, program), args...)
	cmd := exec.CommandContext(ctx, "unshare", all...)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "TERM=dumb",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Run runs a program of the root and returns its output. A program that fails
// fails the test, with what it said.
func (r *Root) Run(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := r.Try(t, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", program, strings.Join(args, " "), err)
	}
	return out
}

// Try is Run for programs that may fail: the error has what they said.
func (r *Root) Try(t testing.TB, program string, args ...string) (string, error) {
	t.Helper()
	return output(r.Command(t.Context(), program, args...))
}

// output runs a command; its error has the end of standard error.
func output(cmd *exec.Cmd) (string, error) {
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, bytes.TrimSpace(talk.Bytes()))
	}
	return out.String(), nil
}

// Host runs a program of this machine as [Root.Run] does one of the root; a
// missing program skips the test, in CI fails it.
func Host(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := TryHost(t, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", program, strings.Join(args, " "), err)
	}
	return out
}

// TryHost is Host for programs that may fail: the error has what they said.
func TryHost(t testing.TB, program string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Missing(t, "no %s on this machine", program)
	}
	return output(exec.CommandContext(t.Context(), path, args...))
}
