package engine_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/archives/archivetest"
)

// tool runs a program of the host in its own store. The test is skipped if the host does not have it.
func tool(t testing.TB, dir string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		t.Skipf("this host has no %s", args[0])
	}
	cmd := exec.CommandContext(t.Context(), path, args[1:]...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// TestLoadWhatOthersWrote loads archives that other programs made.
func TestLoadWhatOthersWrote(t *testing.T) {
	t.Parallel()
	img := twoLayers(t, "interop", "localhost/made:1")
	id := archivetest.ID(t, img)
	for name, write := range map[string]func(t *testing.T, dir, source string) string{
		"skopeo docker-archive": func(t *testing.T, dir, source string) string {
			tool(t, dir, "skopeo", "--insecure-policy", "copy", "-q", source, "docker-archive:"+dir+"/a:localhost/made:1")
			return dir + "/a"
		},
		"skopeo oci-archive": func(t *testing.T, dir, source string) string {
			tool(t, dir, "skopeo", "--insecure-policy", "copy", "-q", source, "oci-archive:"+dir+"/a:localhost/made:1")
			return dir + "/a"
		},
		"skopeo oci folder": func(t *testing.T, dir, source string) string {
			tool(t, dir, "skopeo", "--insecure-policy", "copy", "-q", source, "oci:"+dir+"/a:localhost/made:1")
			return dir + "/a"
		},
		"GNU tar of skopeo's dir": func(t *testing.T, dir, source string) string {
			tool(t, dir, "skopeo", "--insecure-policy", "copy", "-q", source, "dir:"+dir+"/d")
			tool(t, dir, "tar", "-czf", dir+"/a", "-C", dir, "d")
			return dir + "/a"
		},
		"podman docker-archive": func(t *testing.T, dir, source string) string { return podman(t, dir, source, "docker-archive") },
		"podman oci-archive":    func(t *testing.T, dir, source string) string { return podman(t, dir, source, "oci-archive") },
		"buildah oci-archive": func(t *testing.T, dir, source string) string {
			store := []string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs"}
			tool(t, dir, append(append([]string{"buildah"}, store...), "pull", "-q", source)...)
			tool(t, dir, append(append([]string{"buildah"}, store...), "push", "-q", "localhost/made:1", "oci-archive:"+dir+"/a:localhost/made:1")...)
			return dir + "/a"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := openPuller(t)
			dir := t.TempDir()
			source := filepath.Join(dir, "source")
			if err := os.WriteFile(source, archivetest.Tar(t, archivetest.OCI(t, img)...), 0o600); err != nil {
				t.Fatal(err)
			}
			path := write(t, dir, "oci-archive:"+source)
			got, err := p.load(t, engine.LoadOptions{Path: path, AllowPath: true, Name: "localhost/made:1"})
			if err != nil {
				t.Fatal(err)
			}
			if got.IDs[0] != id || len(got.Names) != 1 || got.Names[0] != "localhost/made:1" {
				t.Errorf("loaded %+v, not %s", got, id)
			}
			checkText(t, p, got.IDs[0], "interop")
		})
	}
}

// podman loads the source into a store of its own and saves it.
func podman(t *testing.T, dir, source, format string) string {
	t.Helper()
	run, err := os.MkdirTemp("", "") // podman wants a short name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	store := []string{"podman", "--root", dir + "/root", "--runroot", run, "--storage-driver", "vfs"}
	tool(t, dir, append(store, "pull", "-q", source)...)
	tool(t, dir, append(store, "save", "-q", "--format", format, "-o", dir+"/a", "localhost/made:1")...)
	return dir + "/a"
}
