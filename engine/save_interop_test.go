package engine_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/image/v5/copy"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/signature"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine"
)

func library(t testing.TB, p puller, id string, dest types.ImageReference, mime string, sys *types.SystemContext) {
	t.Helper()
	src, err := istorage.Transport.NewStoreReference(p.Store(), nil, id)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := copy.Image(t.Context(), policy, dest, src, &copy.Options{ForceManifestMIMEType: mime, DestinationCtx: sys}); err != nil {
		t.Fatal(err)
	}
	if err := policy.Destroy(); err != nil {
		t.Fatal(err)
	}
}

func TestSaveDockerArchiveIsTheLibrarys(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	file := filepath.Join(t.TempDir(), "archive")
	w, err := dockerarchive.NewWriter(nil, file)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{savedName, otherName} {
		ref, err := w.NewReference(nil)
		if err != nil {
			t.Fatal(err)
		}
		named, err := reference.ParseNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		library(t, p, ids[i], ref, manifest.DockerV2Schema2MediaType, &types.SystemContext{
			DockerArchiveAdditionalTags: []reference.NamedTagged{named.(reference.NamedTagged)},
		})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o := engine.SaveOptions{Format: engine.DockerArchive}
	if got := p.saveBytes(t, o, "saved:1", "other"); !bytes.Equal(got, want) {
		t.Errorf("a stream has %d bytes, other ones than the library's %d", len(got), len(want))
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	o.Output = out
	if r, err := p.save(t, o, "saved:1", "other"); err != nil || r.Size != int64(len(want)) {
		t.Fatalf("save to a file: %+v, %v", r, err)
	}
	p.idle(t)
	if got, err := os.ReadFile(out.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a file has %d bytes, other ones than the library's %d; %v", len(got), len(want), err)
	}
}

func TestSaveIsReadByOthers(t *testing.T) {
	t.Parallel()
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is missing: apt-get install skopeo")
	}
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	dir := t.TempDir()
	for format, source := range map[engine.ArchiveFormat]string{
		engine.DockerArchive: "docker-archive:%s:docker.io/library/saved:1", engine.OCIArchive: "oci-archive:%s", engine.DockerDir: "dir:%s", engine.OCIDir: "oci:%s",
	} {
		path := filepath.Join(dir, string(format))
		if _, err := p.save(t, engine.SaveOptions{Format: format, Path: path, AllowPath: true}, "saved:1"); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), skopeo, "--insecure-policy", "--tmpdir", dir, "copy", "--dest-decompress",
			fmt.Sprintf(source, path), "dir:"+path+".copy").CombinedOutput()
		if err != nil {
			t.Errorf("skopeo reads %s: %v\n%s", format, err, out)
			continue
		}
		m := parse[struct {
			Config imgspec.Descriptor   `json:"config"`
			Layers []imgspec.Descriptor `json:"layers"`
		}](t, readTree(t, path+".copy")["manifest.json"])
		if m.Config.Digest.Encoded() != ids[0] || len(m.Layers) != 2 {
			t.Errorf("skopeo read from %s: %+v", format, m)
		}
	}
}

func TestSaveIsLoadedByPodman(t *testing.T) {
	t.Parallel()
	podman, err := exec.LookPath("podman")
	if err != nil {
		t.Skip("podman is missing: apt-get install podman")
	}
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		args = append([]string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs"}, args...)
		out, err := exec.CommandContext(t.Context(), podman, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("podman %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for format, names := range map[engine.ArchiveFormat][]string{engine.DockerArchive: {"saved:1", "other"}, engine.OCIArchive: {"saved:1"}} {
		path := filepath.Join(dir, string(format))
		if _, err := p.save(t, engine.SaveOptions{Format: format, Path: path, AllowPath: true}, names...); err != nil {
			t.Fatal(err)
		}
		run("load", "--input", path)
		got := strings.Fields(run("images", "--no-trunc", "--quiet"))
		for i := range names {
			if !slices.Contains(got, "sha256:"+ids[i]) {
				t.Errorf("podman loaded %v from %s", got, format)
			}
		}
		run("rmi", "--all")
	}
}
