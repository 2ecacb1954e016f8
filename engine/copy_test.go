package engine_test

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/archives/archivetest"
	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// copyImage copies and returns the digest.
func (p puller) copyImage(t testing.TB, from, to string, o engine.CopyOptions) (string, error) {
	t.Helper()
	w, err := p.Copy(t.Context(), from, to, o)
	if err != nil {
		return "", err
	}
	defer w.Close()
	value, err := w.Result(t.Context())
	if err != nil {
		return "", err
	}
	return value.(engine.CopyResult).Digest, nil
}

// paths are options of the daemon's own user, with registries on plain HTTP.
func paths() engine.CopyOptions {
	return engine.CopyOptions{AllowPath: true, SourceTLSVerify: new(false), DestinationTLSVerify: new(false)}
}

func TestCopyBetweenAllPlaces(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{})
	id := p.mustPull(t, reg.Ref("app:1"), quick()).IDs[0]
	dir := t.TempDir()
	sources := map[string]string{
		"registry": "docker://" + reg.Ref("app:1"), "store": "containers-storage:" + reg.Ref("app:1"), "store by id": "containers-storage:" + id,
		"docker-archive": "docker-archive:" + dir + "/s.docker", "oci-archive": "oci-archive:" + dir + "/s.oci",
		"oci": "oci:" + dir + "/s.ocidir:app", "dir": "dir:" + dir + "/s.dir",
	}
	for _, name := range []string{"docker-archive", "oci-archive", "oci", "dir"} {
		d, err := p.copyImage(t, sources["registry"], sources[name], paths())
		if err != nil || digest.Digest(d).Validate() != nil {
			t.Fatalf("to %s: %s, %v", name, d, err)
		}
	}
	for name, from := range sources {
		slug := strings.ReplaceAll(name, " ", "-")
		for kind, to := range map[string]string{
			"registry": "docker://" + reg.Ref("copy:"+slug), "store": "containers-storage:localhost/copy:" + slug,
			"docker-archive": "docker-archive:" + dir + "/d.docker." + slug + ":localhost/x:1", "oci-archive": "oci-archive:" + dir + "/d.oci." + slug,
			"oci": "oci:" + dir + "/d.ocidir:" + slug, "dir": "dir:" + dir + "/d.dir." + slug,
		} {
			d, err := p.copyImage(t, from, to, paths())
			if err != nil || digest.Digest(d).Validate() != nil {
				t.Errorf("%s to %s: %s, %v", name, kind, d, err)
			}
		}
		copied := p.image(t, "localhost/copy:"+slug)
		if copied.ID != id {
			t.Errorf("from %s came image %s, not %s", name, copied.ID, id)
		}
		p.mustPull(t, reg.Ref("copy:"+slug), quick())
	}
	checkStore(t, p)
}

func TestCopyAll(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushIndex(t, "multi:1", registrytest.ImageOptions{}, registrytest.ImageOptions{Platform: "linux/arm64"})
	dir, o := t.TempDir(), paths()
	o.All = true
	first, err := p.copyImage(t, "docker://"+reg.Ref("multi:1"), "oci-archive:"+dir+"/a:all", o)
	if err != nil {
		t.Fatal(err)
	}
	for i, to := range []string{"dir:" + dir + "/d", "oci:" + dir + "/o:all", "docker://" + reg.Ref("copied:1")} {
		from := []string{"oci-archive:" + dir + "/a", "dir:" + dir + "/d", "oci:" + dir + "/o"}[i]
		if d, err := p.copyImage(t, from, to, o); err != nil || d != first {
			t.Errorf("%s to %s: %s instead of %s, %v", from, to, d, first, err)
		}
	}
	o.All = false
	for from, to := range map[string]string{"docker://" + reg.Ref("copied:1"): "one", "oci-archive:" + dir + "/a": "two"} {
		if _, err := p.copyImage(t, from, "containers-storage:localhost/"+to, o); err != nil {
			t.Errorf("%s: %v", from, err)
		}
	}
	if p.image(t, "localhost/one:latest").ID != p.image(t, "localhost/two:latest").ID {
		t.Error("not the same image was taken")
	}
	o.All = true
	if _, err := p.copyImage(t, "dir:"+dir+"/d", "containers-storage:x", o); errdefs.Name(err) != "InvalidParameter" {
		t.Errorf("all into the store: %v", err)
	}
	if _, err := p.copyImage(t, "dir:"+dir+"/d", "docker-archive:"+dir+"/x", o); errdefs.Name(err) != "InvalidFormat" {
		t.Errorf("all into a docker-archive: %v", err)
	}
	if _, err := os.Lstat(dir + "/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left of it: %v", err)
	}
	// A manifest of the list that is missing.
	m := archivetest.OCIList(t, "", archivetest.Image{Platform: ociv1.Platform{OS: "linux", Architecture: "amd64"}}, archivetest.Image{Platform: ociv1.Platform{OS: "linux", Architecture: "arm64"}})
	f := archivetest.WriteFile(t, archivetest.Tar(t, m[3:]...))
	if _, err := p.copyImage(t, "oci-archive:"+f.Name(), "dir:"+dir+"/d2", o); errdefs.Name(err) != "InvalidArchive" {
		t.Errorf("incomplete list: %v", err)
	}
}

// TestCopyListOfTheStore copies a manifest list that was made here.
func TestCopyListOfTheStore(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	enginetest.AddList(t, p.Store(), []string{"localhost/list:latest"}, ids...)
	dir, o := t.TempDir(), paths()
	one, err := p.copyImage(t, "containers-storage:localhost/list", "oci:"+dir+"/one", o)
	if err != nil {
		t.Fatal(err)
	}
	o.All = true
	all, err := p.copyImage(t, "containers-storage:localhost/list", "dir:"+dir+"/all", o)
	if err != nil || all == one {
		t.Fatalf("all: %s, %v", all, err)
	}
	if d, err := p.copyImage(t, "dir:"+dir+"/all", "dir:"+dir+"/again", o); err != nil || d != all {
		t.Errorf("what was copied is %s instead of %s, %v", d, all, err)
	}
	if _, err := p.Remove(t.Context(), ids, engine.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	for _, o.All = range []bool{true, false} {
		_, err := p.copyImage(t, "containers-storage:localhost/list", "dir:"+dir+"/none", o)
		wantFailure(t, "copy a list whose images are not here", err, "ImageNotFound")
	}
}

func TestCopyToABusyRegistry(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	reg := registrytest.New(t, registrytest.Options{})
	reg.Misbehave(registrytest.Rule{Path: "/busy/", Fault: registrytest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "1"}})
	archive := "oci-archive:" + archivetest.WriteFile(t, archivetest.Tar(t, archivetest.OCI(t, twoLayers(t, "x"))...)).Name()
	_, err := p.copyImage(t, archive, "docker://"+reg.Ref("busy:1"), paths())
	if e, ok := errors.AsType[*errdefs.RateLimited](err); !ok || e.RetryAfter == nil || *e.RetryAfter != 1 {
		t.Errorf("got %v", err)
	}
}

func TestCopyRefuses(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	s := newSentinel(t, p)
	reg := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "anna", Password: "pw-geheim"})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{})
	app, dir := "docker://"+reg.Ref("app:1"), t.TempDir()
	archive := "oci-archive:" + archivetest.WriteFile(t, archivetest.Tar(t, archivetest.OCI(t, twoLayers(t, "x"))...)).Name()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(s.dir, "victim"), link); err != nil {
		t.Fatal(err)
	}
	lost := filepath.Join(dir, "lost")
	if err := os.Symlink(filepath.Join(s.dir, "new"), lost); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, to string
		path     bool
		want     string
	}{
		{app, "dir:" + dir + "/x", false, "PermissionDenied"},
		{"dir:" + dir, "docker://" + reg.Ref("x"), false, "PermissionDenied"},
		{"x", app, true, "InvalidReference"},
		{"tarball:/etc/passwd", app, true, "InvalidReference"},
		{"docker-daemon:x:1", app, true, "InvalidReference"},
		{"docker:x", app, true, "InvalidReference"},
		{"dir:relative", app, true, "InvalidReference"},
		{"containers-storage:[vfs@/x+/y]z", app, true, "InvalidReference"},
		{"containers-storage:", app, true, "InvalidReference"},
		{"containers-storage:localhost/none", app, true, "ImageNotFound"},
		{archive, "docker://" + reg.Ref("x@sha256:"+strings.Repeat("a", 64)), true, "InvalidReference"},
		{archive, "containers-storage:x@sha256:" + strings.Repeat("a", 64), true, "InvalidReference"},
		{archive, "dir:" + dir, true, "InvalidReference"},
		{archive, "dir:" + dir + "/new:x", true, "InvalidReference"},
		{archive, "oci-archive:" + link, true, "InvalidReference"},
		{archive, "docker-archive:" + link, true, "InvalidReference"},
		{archive, "docker-archive:" + lost, true, "InvalidReference"},
		{archive, "dir:" + lost, true, "InvalidReference"},
		{archive, "docker-archive:/dev/null", true, "InvalidReference"},
		{archive, "docker-archive:" + dir + "/none/x", true, "InvalidReference"},
		{archive, "docker-archive:" + dir + "/bad:UPPER", true, "InvalidReference"},
		{archive + ":other", "dir:" + dir + "/x", true, "InvalidArchive"},
		{strings.Replace(archive, "oci-archive", "dir", 1), "dir:" + dir + "/x", true, "InvalidArchive"},
		{"oci-archive:" + dir + "/none", "dir:" + dir + "/x", true, "InvalidReference"},
		{"oci-archive:/dev/zero", "dir:" + dir + "/x", true, "InvalidArchive"},
		{app, "dir:" + dir + "/x", true, "AuthenticationRequired"},
		{archive, "docker://" + reg.Ref("x"), true, "AuthenticationRequired"},
		{"docker://127.0.0.1:1/x", "dir:" + dir + "/x", true, "RegistryUnreachable"},
		{archive, "docker://127.0.0.1:1/x", true, "RegistryUnreachable"},
	} {
		o := paths()
		o.AllowPath = c.path
		if _, err := p.copyImage(t, c.from, c.to, o); errdefs.Name(err) != c.want {
			t.Errorf("%s to %s: want %s, got %v", c.from, c.to, c.want, err)
		}
	}
	_, err := p.copyImage(t, "docker://127.0.0.1:1/x", "dir:"+dir+"/x", paths())
	if e, ok := errors.AsType[*errdefs.RegistryUnreachable](err); !ok || len(e.Attempts) != 1 || e.Attempts[0].Error != "RegistryUnreachable" {
		t.Errorf("one try, told as %+v", err)
	}
	for _, name := range []string{"x", "new", "bad"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
	s.check(t, p)
	p.wantNothing(t)
}

func TestCopyCredentialsOfEachSide(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	a := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "anna", Password: "pw-a"})
	b := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, Username: "berta", Password: "pw-b"})
	a.PushImage(t, "app:1", registrytest.ImageOptions{})
	o := paths()
	o.SourceCredentials = &engine.Credentials{Username: "anna", Password: "pw-a"}
	o.DestinationCredentials = &engine.Credentials{Username: "berta", Password: "pw-b"}
	if _, err := p.copyImage(t, "docker://"+a.Ref("app:1"), "docker://"+b.Ref("app:1"), o); err != nil {
		t.Error(err)
	}
	for _, given := range []*engine.Credentials{{Username: "anna"}, {Password: "x"}, {}, {Username: "a", Password: "b", IdentityToken: "c"}} {
		o.SourceCredentials = given
		if _, err := p.copyImage(t, "docker://"+a.Ref("app:1"), "docker://"+b.Ref("app:1"), o); errdefs.Name(err) != "InvalidParameter" {
			t.Errorf("%v", err)
		}
	}
}

func TestCopyFileIsClosedToOthersUntilComplete(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	path := filepath.Join(t.TempDir(), "out")
	archive := "oci-archive:" + archivetest.WriteFile(t, archivetest.Tar(t, archivetest.OCI(t, twoLayers(t, "x"))...)).Name()
	if _, err := p.copyImage(t, archive, "docker-archive:"+path, paths()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	got, err := p.load(t, engine.LoadOptions{Path: path, AllowPath: true})
	if err != nil || got.IDs[0] != archivetest.ID(t, twoLayers(t, "x")) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestCopySendsNoUploadElsewhere has a registry that wants the upload, and the credentials with it, at another host.
func TestCopySendsNoUploadElsewhere(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	asked := make(chan string, 10)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("Authorization") }))
	defer thief.Close()
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPost:
			w.Header().Set("Location", thief.URL+"/upload")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer evil.Close()
	o := paths()
	o.DestinationCredentials = &engine.Credentials{Username: "anna", Password: "pw-geheim"}
	archive := "oci-archive:" + archivetest.WriteFile(t, archivetest.Tar(t, archivetest.OCI(t, twoLayers(t, "x"))...)).Name()
	_, err := p.copyImage(t, archive, "docker://"+strings.TrimPrefix(evil.URL, "http://")+"/x:1", o)
	if errdefs.Name(err) != "AccessDenied" {
		t.Errorf("error is %v", err)
	}
	if len(asked) > 0 {
		t.Error("the other host was asked")
	}
}

func TestCopyThatUnpacksIsBounded(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	pushLayers(t, reg, "bomb:1", zeros(t, 256<<20))
	p := openPuller(t, func(o *engine.Options) { o.Pull.Unpacked.LayerBytes = 4 << 20 })
	dir := t.TempDir()
	for _, to := range []string{"containers-storage:localhost/bomb:1", "docker-archive:" + dir + "/bomb"} {
		_, err := p.copyImage(t, "docker://"+reg.Ref("bomb:1"), to, paths())
		if limit, ok := errors.AsType[*errdefs.LimitExceeded](err); !ok || limit.Limit != engine.LimitLayerUnpackedBytes {
			t.Errorf("%s: %v", to, err)
		}
	}
	p.wantNothing(t)
	wantEmpty(t, dir)
}

// TestCopyAllJudgesEachImage copies lists of which one image would be refused if it was copied alone.
func TestCopyAllJudgesEachImage(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	good, goodID := layerOf(t, "good")
	manyLayers := func(m *ociv1.Manifest) {
		for range 4 {
			m.Layers = append(m.Layers, m.Layers[0])
		}
	}
	p := openPuller(t, func(o *engine.Options) {
		o.Pull.Layers, o.Pull.ConfigBytes, o.Pull.LayerBytes, o.Pull.ManifestBytes = 4, 10_000, 100_000, 20_000
	})
	dir, o := t.TempDir(), paths()
	crafted{layer: good, diffID: goodID, change: func(m *ociv1.Manifest) { m.Config.MediaType = ociv1.MediaTypeEmptyJSON }}.push(t, reg, "artifact:1")
	if _, err := p.copyImage(t, "docker://"+reg.Ref("artifact:1"), "dir:"+dir+"/copy", o); errdefs.Name(err) != "InvalidArchive" {
		t.Errorf("an artifact alone: %v", err)
	}
	o.All = true
	for name, c := range map[string]struct {
		change func(*ociv1.Manifest)
		want   string
	}{
		"good":             {nil, ""},
		"artifact":         {func(m *ociv1.Manifest) { m.Config.MediaType = ociv1.MediaTypeEmptyJSON }, ""},
		"layers":           {manyLayers, engine.LimitLayers},
		"layer":            {func(m *ociv1.Manifest) { m.Layers[0].Size = 100_001 }, engine.LimitLayerBytes},
		"configuration":    {func(m *ociv1.Manifest) { m.Config.Size = 10_001 }, engine.LimitConfigBytes},
		"manifest":         {func(m *ociv1.Manifest) { m.Annotations = map[string]string{"a": strings.Repeat("x", 20_000)} }, engine.LimitManifestBytes},
		"schema":           {func(m *ociv1.Manifest) { m.SchemaVersion = 7 }, "InvalidArchive"},
		"another type":     {func(m *ociv1.Manifest) { m.MediaType = ociv1.MediaTypeImageIndex }, "InvalidArchive"},
		"size":             {func(m *ociv1.Manifest) { m.Layers[0].Size = -1 }, "InvalidArchive"},
		"no configuration": {func(m *ociv1.Manifest) { m.Config.Digest = "" }, "InvalidArchive"},
	} {
		d := crafted{layer: good, diffID: goodID, change: c.change}.push(t, reg, "list:image")
		index := marshal(t, ociv1.Index{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ociv1.MediaTypeImageIndex,
			Manifests: []ociv1.Descriptor{{MediaType: ociv1.MediaTypeImageManifest, Digest: d, Size: 1, Platform: &ociv1.Platform{OS: "linux", Architecture: "amd64"}}},
		})
		reg.PushManifest(t, "list:1", ociv1.MediaTypeImageIndex, index)
		to := filepath.Join(dir, "copy")
		_, err := p.copyImage(t, "docker://"+reg.Ref("list:1"), "oci:"+to, o)
		got := errdefs.Name(err)
		if limit, ok := errors.AsType[*errdefs.LimitExceeded](err); ok {
			got = limit.Limit
		}
		if err == nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.RemoveAll(to); err != nil {
			t.Error(err)
		}
	}
}
