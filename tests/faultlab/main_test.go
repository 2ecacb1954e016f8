package faultlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/containers/storage/pkg/reexec"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/tests/registrytest"
)

// Variables of the environment. The first three are for whoever runs the tests, the others for the test program's own
// children.
const (
	fullVariable  = "FAULTLAB_FULL"
	seedVariable  = "FAULTLAB_SEED"
	binVariable   = "IMAGED_TEST_BIN"
	spaceVariable = "FAULTLAB_NAMESPACE"
	checkVariable = "FAULTLAB_CHECK"
)

// tags are what the daemon's libraries need, as in the Makefile.
const tags = "containers_image_openpgp,exclude_graphdriver_btrfs"

// tools are the programs without which there is no laboratory.
var tools = []string{"unshare", "mkfs.ext4", "mount", "cp", "strace"}

// world is what all cases share.
var world struct {
	missing  string // why there is no laboratory; empty: there is one
	dir      string // a tmpfs
	imaged   string // the daemon under test
	registry *registrytest.Registry
	template string // an ext4 file system with a store that the operations can work on
	archive  string // a saved image
	rootFS   string // a file tree to import
	seed     uint64
	full     bool
}

func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	if os.Getenv(checkVariable) != "" {
		os.Exit(checkMain(os.Args[1], os.Args[2]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	if world.missing = unable(); world.missing != "" {
		return m.Run()
	}
	if os.Getenv(spaceVariable) == "" {
		fmt.Fprintln(os.Stderr, "faultlab:", enterNamespace())
		return 1
	}
	err := setUp()
	if err == nil {
		code = m.Run()
	}
	if err := errors.Join(err, tearDown()); err != nil {
		fmt.Fprintln(os.Stderr, "faultlab:", err)
		return 1
	}
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// unable says why no case can run here.
func unable() string {
	if os.Getuid() != 0 {
		return "only root can mount file systems and cut their power"
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return "no " + tool + " on this machine"
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "no loop devices on this machine"
	}
	return ""
}

// enterNamespace starts this program anew in a mount namespace. It returns only if that fails.
func enterNamespace() error {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{unshare, "--mount", "--propagation", "private", self}, os.Args[1:]...)
	return syscall.Exec(unshare, args, append(os.Environ(), spaceVariable+"=1"))
}

func setUp() (err error) {
	world.full = os.Getenv(fullVariable) != ""
	world.seed = uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVariable); text != "" {
		if world.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			return err
		}
	}
	fmt.Printf("faultlab: %s=%d\n", seedVariable, world.seed)
	if world.dir, err = os.MkdirTemp("/tmp", "faultlab-"); err != nil {
		return err
	}
	if err := unix.Mount("faultlab", world.dir, "tmpfs", 0, "mode=0700,size=8g"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	if world.imaged, err = build(); err != nil {
		return err
	}
	if world.registry, err = registrytest.Start(registrytest.Options{}); err != nil {
		return err
	}
	for name, options := range images {
		if _, err := world.registry.Push(name, options); err != nil {
			return err
		}
	}
	return makeTemplate()
}

func tearDown() error {
	if world.registry != nil {
		world.registry.Close()
	}
	if world.dir == "" {
		return nil
	}
	// What is mounted below goes with the namespace.
	return errors.Join(unix.Unmount(world.dir, unix.MNT_DETACH), os.Remove(world.dir))
}

// build returns the daemon that make built just now, else builds it.
func build() (string, error) {
	if dir := os.Getenv(binVariable); dir != "" {
		path := filepath.Join(dir, "imaged")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path := filepath.Join(world.dir, "imaged")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", tags, "-o", path, "./cmd/imaged")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
}

// need skips the test where there is no laboratory; in CI nothing may be missing.
func need(t *testing.T) {
	t.Helper()
	if world.missing == "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(world.missing)
	}
	t.Skip(world.missing)
}
