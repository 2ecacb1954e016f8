package interop_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/interop"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// imagectl runs bin/imagectl against a daemon and returns what it printed.
func imagectl(t *testing.T, d *daemon.Daemon, args ...string) string {
	t.Helper()
	return interop.Host(t, daemon.Binary(t, "imagectl"), append([]string{"--address", "unix:" + d.Socket}, args...)...)
}

func TestTrixieProgramsReadWhatImagedPulled(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	registry := registrytest.New(t, registrytest.Options{})
	registry.PushImage(t, "sample:oci", registrytest.ImageOptions{})
	registry.PushImage(t, "sample:docker", registrytest.ImageOptions{Docker: true})
	d := daemon.Start(t, daemon.Options{})
	root.Bind(d.Dir)
	for _, tag := range []string{"oci", "docker"} {
		image := registry.Ref("sample:" + tag)
		id := strings.TrimSpace(imagectl(t, d, "pull", "--tls-verify=false", image))
		for _, program := range []string{"podman", "buildah"} {
			args := append(interop.StoreArgs(d), "images", "--quiet", "--no-trunc")
			if out := root.Run(t, program, args...); !strings.Contains(out, id) {
				t.Errorf("%s does not list %s: %s", program, id, out)
			}
		}
		args := append(interop.StoreArgs(d), "image", "inspect", "--format", "{{.ID}} {{len .RootFS.Layers}}", image)
		if out := root.Run(t, "podman", args...); strings.TrimSpace(out) != id+" 3" {
			t.Errorf("podman inspects %q, want %s", out, id)
		}
		// Reading every layer back proves that content and digests agree.
		out := filepath.Join(d.Dir, "out-"+tag)
		root.Run(t, "skopeo", "--insecure-policy", "copy", interop.StoreRef(d, image), "dir:"+out)
	}
}

func TestImagedReadsWhatTrixieProgramsPut(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	registry := registrytest.New(t, registrytest.Options{})
	registry.PushImage(t, "sample:latest", registrytest.ImageOptions{})
	d := daemon.Start(t, daemon.Options{})
	root.Bind(d.Dir)
	image := registry.Ref("sample:latest")
	root.Run(t, "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://"+image, interop.StoreRef(d, "localhost/copied:1"))
	root.Run(t, "podman", append(interop.StoreArgs(d), "tag", "localhost/copied:1", "localhost/tagged:2")...)
	got := strings.Fields(imagectl(t, d, "images", "--format", "{{.Repository}}:{{.Tag}}"))
	slices.Sort(got)
	if want := []string{"localhost/copied:1", "localhost/tagged:2"}; !slices.Equal(got, want) {
		t.Errorf("imaged lists %v, want %v", got, want)
	}
	imagectl(t, d, "rm", "localhost/copied:1", "localhost/tagged:2")
	if out := root.Run(t, "podman", append(interop.StoreArgs(d), "images", "--quiet")...); out != "" {
		t.Errorf("podman still lists %s", out)
	}
}

func TestPullFromDebiansRegistry(t *testing.T) {
	t.Parallel()
	registry := registrytest.Debian(t, registrytest.DebianOptions{TLS: true, Username: "user", Password: "secret"})
	registry.PushImage(t, "some/sample:latest", registrytest.ImageOptions{})
	image := registry.Ref("some/sample:latest")

	distrusting := daemon.Start(t, daemon.Options{})
	if out, err := tryImagectl(t, distrusting, "pull", "--creds", "user:secret", image); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a pull from an unknown CA: %s, %v", out, err)
	}
	d := daemon.Start(t, daemon.Options{Env: []string{"SSL_CERT_FILE=" + filepath.Join(registry.CertDir(), "ca.crt")}})
	for _, args := range [][]string{{}, {"--creds", "user:wrong"}} {
		out, err := tryImagectl(t, d, append(append([]string{"pull"}, args...), image)...)
		if err == nil || !strings.Contains(err.Error(), "exit status 4") {
			t.Errorf("pull %v: %s, %v, want exit status 4", args, out, err)
		}
	}
	id := strings.TrimSpace(imagectl(t, d, "pull", "--creds", "user:secret", image))
	if len(id) != 64 {
		t.Errorf("pull printed %q, want an id", id)
	}
	if strings.Contains(d.Log(), "secret") {
		t.Errorf("the password is in the log: %s", d.Log())
	}
}

// tryImagectl is imagectl for commands that may fail.
func tryImagectl(t *testing.T, d *daemon.Daemon, args ...string) (string, error) {
	t.Helper()
	return interop.TryHost(t, daemon.Binary(t, "imagectl"), append([]string{"--address", "unix:" + d.Socket}, args...)...)
}
