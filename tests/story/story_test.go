package story

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/imaged-project/imaged/tests/registrytest"
)

// tags are what the daemon's libraries need, as in the Makefile.
const tags = "containers_image_openpgp,exclude_graphdriver_btrfs"

// binaries is the folder with the programs under test, built for this run.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	folder, err := os.MkdirTemp("", "imaged-story-")
	if err == nil {
		binaries = folder
		defer func() {
			if err := os.RemoveAll(folder); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}()
		err = build(folder)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if code = m.Run(); code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func build(folder string) error {
	cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", tags, "-o", folder+"/", "./cmd/imaged", "./cmd/imagectl")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

func TestStories(t *testing.T) {
	t.Parallel()
	tell(t, "testdata", setup)
}

// TestStoriesOfDebiansRegistry tells those that begin with a registry as people run one: with TLS and passwords.
func TestStoriesOfDebiansRegistry(t *testing.T) {
	t.Parallel()
	registry := registrytest.Debian(t, registrytest.DebianOptions{TLS: true, Username: "me", Password: "secret"})
	registry.PushImage(t, "sample:1", registrytest.ImageOptions{})
	ca, err := os.ReadFile(filepath.Join(registry.CertDir(), "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	tell(t, filepath.Join("testdata", "debian"), func(env *testscript.Env) error {
		env.Setenv("reg", registry.Host())
		trusted := filepath.Join(env.WorkDir, ".config", "containers", "certs.d", registry.Host())
		return errors.Join(setup(env), os.MkdirAll(trusted, 0o755), os.WriteFile(filepath.Join(trusted, "ca.crt"), ca, 0o644))
	})
}

// tell runs the scripts of a folder.
func tell(t *testing.T, folder string, setup func(*testscript.Env) error) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a store needs overlay mounts, which are root's")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 folder,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds:                commands,
	})
}

// setup gives a script a store, a place for the host's configuration, and the programs.
func setup(env *testscript.Env) error {
	env.Values["world"] = newWorld(env)
	for name, value := range map[string]string{
		"PATH": binaries + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME": env.WorkDir, "XDG_RUNTIME_DIR": env.WorkDir,
		"STORE":                      "--root=" + filepath.Join(env.WorkDir, "root") + " --runroot=" + filepath.Join(env.WorkDir, "run") + " --storage-driver=overlay",
		"CONTAINERS_STORAGE_CONF":    filepath.Join(env.WorkDir, "storage.conf"),
		"CONTAINERS_REGISTRIES_CONF": filepath.Join(env.WorkDir, "registries.conf"),
	} {
		env.Setenv(name, value)
	}
	storage := fmt.Sprintf("[storage]\ndriver = \"overlay\"\ngraphroot = %q\nrunroot = %q\n",
		filepath.Join(env.WorkDir, "root"), filepath.Join(env.WorkDir, "run"))
	if err := os.WriteFile(filepath.Join(env.WorkDir, "storage.conf"), []byte(storage), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "registries.conf"), []byte("unqualified-search-registries = [\"docker.io\"]\n"), 0o644)
}
