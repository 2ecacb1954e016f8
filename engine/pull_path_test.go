package engine_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/transports/alltransports"
	"github.com/containers/image/v5/types"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// export copies an image from a registry to a path.
func export(t testing.TB, from, to string) {
	t.Helper()
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := policy.Destroy(); err != nil {
			t.Error(err)
		}
	}()
	source, err := alltransports.ParseImageName("docker://" + from)
	if err != nil {
		t.Fatal(err)
	}
	target, err := alltransports.ParseImageName(to)
	if err != nil {
		t.Fatal(err)
	}
	sys := &types.SystemContext{DockerInsecureSkipTLSVerify: types.OptionalBoolTrue, BigFilesTemporaryDir: t.TempDir(), BlobInfoCacheDir: t.TempDir()}
	if _, err := copy.Image(t.Context(), policy, target, source, &copy.Options{SourceCtx: sys, DestinationCtx: sys}); err != nil {
		t.Fatal(err)
	}
}

func TestPullFromPaths(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{})
	dir := t.TempDir()
	for _, c := range []struct {
		write, read string
		names       []string // nil: none
	}{
		{"docker-archive:" + dir + "/d.tar:app:v1", "docker-archive:" + dir + "/d.tar", []string{"docker.io/library/app:v1"}},
		{"", "docker-archive:" + dir + "/d.tar:app:v1", []string{"docker.io/library/app:v1"}},
		{"docker-archive:" + dir + "/none.tar", "docker-archive:" + dir + "/none.tar", nil},
		{"oci-archive:" + dir + "/o.tar:example.org/app:v2", "oci-archive:" + dir + "/o.tar", []string{"example.org/app:v2"}},
		{"oci:" + dir + "/layout:example.org/app:v3", "oci:" + dir + "/layout", []string{"example.org/app:v3"}},
		{"dir:" + dir + "/dir", "dir:" + dir + "/dir", nil},
	} {
		if c.write != "" {
			export(t, reg.Ref("app:1"), c.write)
		}
		p := openPuller(t)
		o := quick()
		o.AllowPath = true
		r, err := p.pull(t, c.read, o)
		if err != nil {
			t.Errorf("%s: %v", c.read, err)
			continue
		}
		image := p.image(t, r.IDs[0])
		if diff := cmp.Diff(c.names, image.Names); diff != "" {
			t.Errorf("%s: names in the store (-want +got):\n%s", c.read, diff)
		}
		want := c.names
		if want == nil {
			want = []string{"sha256:" + image.ID}
		}
		if diff := cmp.Diff(want, r.Names); diff != "" {
			t.Errorf("%s: names of the result (-want +got):\n%s", c.read, diff)
		}
	}
}

func TestPullFromBadPaths(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{})
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	export(t, reg.Ref("app:1"), "docker-archive:"+at("good.tar")+":app:v1")
	export(t, reg.Ref("app:1"), "oci:"+at("layout")+":app:v1")
	writeFile(t, at("junk"), "this is no tar")
	writeFile(t, at("empty"), "")
	data, err := os.ReadFile(at("good.tar"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, at("half.tar"), string(data[:len(data)/2]))
	if err := unix.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := openPuller(t)
	for reference, want := range map[string]string{
		"docker-archive:" + at("nothing"):           "InvalidReference",
		"docker-archive:" + at("junk"):              "InvalidArchive",
		"oci-archive:" + at("junk"):                 "InvalidArchive",
		"docker-archive:" + at("empty"):             "InvalidArchive",
		"docker-archive:" + at("half.tar"):          "InvalidArchive",
		"docker-archive:" + at("fifo"):              "InvalidArchive",
		"docker-archive:" + at("good.tar") + ":x:y": "InvalidArchive",
		"oci:" + at("good.tar"):                     "InvalidArchive",
		"dir:" + at("layout"):                       "InvalidArchive",
		"dir:" + dir:                                "InvalidArchive",
	} {
		o := quick()
		o.AllowPath = true
		if _, err := p.pull(t, reference, o); errdefs.Name(err) != want {
			t.Errorf("%s: %v, want %s", strings.ReplaceAll(reference, dir, "…"), err, want)
		}
	}
	o := engine.PullOptions{AllowPath: true, Platform: &names.Platform{Architecture: "s390x"}}
	if _, err := p.pull(t, "docker-archive:"+at("good.tar"), o); errdefs.Name(err) != "InvalidArchive" {
		t.Errorf("another platform: %v", err)
	}
	p.wantNothing(t)
}
