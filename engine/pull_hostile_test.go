package engine_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/archives/archivetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// crafted is an image that a registry would not make.
type crafted struct {
	layer    []byte // as it is sent
	diffID   digest.Digest
	size     int64 // of the layer, as the manifest says; 0: the truth
	change   func(*ociv1.Manifest)
	platform ociv1.Platform
}

func (c crafted) push(t testing.TB, reg *registrytest.Registry, image string) digest.Digest {
	t.Helper()
	repository, _, _ := strings.Cut(image, ":")
	if c.platform.OS == "" {
		c.platform = ociv1.Platform{OS: "linux", Architecture: "amd64"}
	}
	config := marshal(t, ociv1.Image{Platform: c.platform, RootFS: ociv1.RootFS{Type: "layers", DiffIDs: []digest.Digest{c.diffID}}})
	reg.PushBlob(t, repository, config)
	reg.PushBlob(t, repository, c.layer)
	if c.size == 0 {
		c.size = int64(len(c.layer))
	}
	m := ociv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ociv1.MediaTypeImageManifest,
		Config: ociv1.Descriptor{MediaType: ociv1.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
		Layers: []ociv1.Descriptor{{MediaType: ociv1.MediaTypeImageLayerGzip, Digest: digest.FromBytes(c.layer), Size: c.size}},
	}
	if c.change != nil {
		c.change(&m)
	}
	data := marshal(t, m)
	reg.PushManifest(t, image, ociv1.MediaTypeImageManifest, data)
	return digest.FromBytes(data)
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// layerOf makes a layer with one file, and returns it compressed, with the digest of what was compressed.
func layerOf(t testing.TB, text string) ([]byte, digest.Digest) {
	t.Helper()
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return pack(t, &packed, plain.Bytes()), digest.FromBytes(plain.Bytes())
}

func pack(t testing.TB, to *bytes.Buffer, data []byte) []byte {
	t.Helper()
	z := gzip.NewWriter(to)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Bytes()
}

func TestPullRefusesDamagedImages(t *testing.T) {
	t.Parallel()
	good, diffID := layerOf(t, "hello")
	junk := bytes.Repeat([]byte("this is no tar. "), 100)
	for name, c := range map[string]crafted{
		"another layer than the configuration says": {layer: good, diffID: digest.FromString("other")},
		"no tar":               {layer: pack(t, &bytes.Buffer{}, junk), diffID: digest.FromBytes(junk)},
		"no gzip":              {layer: junk, diffID: digest.FromBytes(junk)},
		"gzip without its end": {layer: good[:len(good)-6], diffID: diffID},
		"longer than declared": {layer: good, diffID: diffID, size: int64(len(good)) - 1},
		"no digest of a layer": {layer: good, diffID: diffID, change: func(m *ociv1.Manifest) { m.Layers[0].Digest = "../../../etc/passwd" }},
		"short digest":         {layer: good, diffID: diffID, change: func(m *ociv1.Manifest) { m.Layers[0].Digest = "sha256:abc" }},
		"digest of the configuration": {layer: good, diffID: diffID, change: func(m *ociv1.Manifest) {
			m.Config.Digest = digest.Digest("sha256:" + strings.Repeat("../", 21) + "x")
		}},
		"another digest of the configuration": {layer: good, diffID: diffID, change: func(m *ociv1.Manifest) {
			m.Config.Digest = digest.SHA512.FromString("{}")
		}},
		"bad diff id": {layer: good, diffID: "sha256:../x"},
		"more layers than the configuration has": {layer: good, diffID: diffID, change: func(m *ociv1.Manifest) {
			m.Layers = append(m.Layers, m.Layers[0])
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := registrytest.New(t, registrytest.Options{})
			c.push(t, reg, "app:1")
			p := openPuller(t)
			_, err := p.pull(t, reg.Ref("app:1"), quick())
			if errdefs.Name(err) != "InvalidArchive" {
				t.Errorf("%v", err)
			}
			p.wantNothing(t)
		})
	}
}

func TestPullRefusesAnotherManifestThanItsDigest(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	first := reg.PushImage(t, "app:1", registrytest.ImageOptions{Seed: 1})
	layer, diffID := layerOf(t, "x")
	other := crafted{layer: layer, diffID: diffID}
	other.push(t, reg, "app:2")
	body := fetch(t, reg, "app/manifests/2")
	reg.Misbehave(registrytest.Rule{Path: "/manifests/sha256", Fault: registrytest.Fault{Body: body}})
	p := openPuller(t)
	if _, err := p.pull(t, reg.Ref("app@"+first), quick()); errdefs.Name(err) != "InvalidArchive" {
		t.Errorf("by digest: %v", err)
	}
	reg.PushIndex(t, "multi:1", registrytest.ImageOptions{})
	if _, err := p.pull(t, reg.Ref("multi:1"), quick()); errdefs.Name(err) != "InvalidArchive" {
		t.Errorf("instance of a list: %v", err)
	}
	p.wantNothing(t)
}

func TestPullDoesNotFollowForeignURLs(t *testing.T) {
	t.Parallel()
	reg, other := registrytest.New(t, registrytest.Options{}), registrytest.New(t, registrytest.Options{})
	layer, diffID := layerOf(t, "hello")
	c := crafted{layer: layer, diffID: diffID, change: func(m *ociv1.Manifest) {
		m.Layers[0].MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
		m.Layers[0].URLs = []string{other.URL() + "/internal"}
	}}
	c.push(t, reg, "app:1")
	p := openPuller(t)
	p.mustPull(t, reg.Ref("app:1"), quick())
	if n := len(other.Requests()); n > 0 {
		t.Errorf("another server got %d requests", n)
	}
}

func TestPullSendsCredentialsToOneRegistryOnly(t *testing.T) {
	t.Parallel()
	main := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "anna", Password: "geheim"})
	main.PushImage(t, "app:1", registrytest.ImageOptions{})
	mirror, elsewhere := registrytest.New(t, registrytest.Options{}), registrytest.New(t, registrytest.Options{})
	elsewhere.PushImage(t, "app:1", registrytest.ImageOptions{})
	// Another name of this host: Go's client keeps the header for another port of the same one.
	away := strings.Replace(elsewhere.URL(), "127.0.0.1", "localhost", 1) + "/"
	main.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Fault: registrytest.Fault{Redirect: away}})
	p := openPuller(t, func(o *engine.Options) {
		writeFile(t, filepath.Join(o.ConfigDir, "registries.conf"),
			"[[registry]]\nlocation = \""+main.Host()+"\"\ninsecure = true\n[[registry.mirror]]\nlocation = \""+mirror.Host()+"\"\ninsecure = true\n")
	})
	o := quick()
	o.Credentials = &engine.Credentials{Username: "anna", Password: "geheim"}
	p.mustPull(t, main.Ref("app:1"), o)
	if len(mirror.Requests()) == 0 || len(elsewhere.Requests()) == 0 {
		t.Error("the mirror or the redirect was not asked")
	}
	for _, r := range slices.Concat(mirror.Requests(), elsewhere.Requests()) {
		if r.Authorization != "" {
			t.Errorf("%s %s got credentials", r.Method, r.Path)
		}
	}
}

func TestPullKeepsToTheManifestItRead(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	reg := registrytest.New(t, registrytest.Options{})
	first := reg.PushImage(t, "app:1", registrytest.ImageOptions{Seed: 1})
	reg.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Times: 1, Fault: registrytest.Fault{Stall: hold}})
	p := openPuller(t)
	w, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for reg.Count("GET", "/blobs/") == 0 {
		time.Sleep(time.Millisecond)
	}
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Seed: 2})
	close(hold)
	value, err := w.Result(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := p.image(t, value.(engine.PullResult).IDs[0]).Digest.String(); got != first {
		t.Errorf("the image is %s, want the first one, %s", got, first)
	}
}

// fetch gets what a registry has at a path.
func fetch(t testing.TB, reg *registrytest.Registry, path string) []byte {
	t.Helper()
	answer, err := http.Get(reg.URL() + "/v2/" + path)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return body
}

// layersOf returns the digests of an image's layers, lowest first.
func layersOf(t testing.TB, reg *registrytest.Registry, path string) []string {
	t.Helper()
	var m ociv1.Manifest
	if err := json.Unmarshal(fetch(t, reg, path), &m); err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, l := range m.Layers {
		digests = append(digests, l.Digest.String())
	}
	return digests
}

func TestCancelledPullTakesItsLayersAway(t *testing.T) {
	t.Parallel()
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 3})
	top := layersOf(t, reg, "app/manifests/1")[2]
	reg.Misbehave(registrytest.Rule{Method: "GET", Path: top, Fault: registrytest.Fault{Stall: stall, After: 1 << 10}})
	p := openPuller(t)
	w, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
	if err != nil {
		t.Fatal(err)
	}
	for {
		layers, err := p.Store().Layers()
		if err != nil {
			t.Fatal(err)
		}
		if len(layers) == 2 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	w.Close()
	p.wantNothing(t)
}

func TestCancelledPullLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	stall := make(chan struct{})
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 3, Seed: 5})
	reg.PushImage(t, "app:2", registrytest.ImageOptions{Layers: 3, Seed: 5, Labels: map[string]string{"another": "image"}})
	top := layersOf(t, reg, "app/manifests/1")[2]
	reg.Misbehave(registrytest.Rule{Method: "GET", Path: top, Fault: registrytest.Fault{Stall: stall, After: 1 << 10}})
	p := openPuller(t)
	first, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.Pull(t.Context(), reg.Ref("app:2"), quick())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for reg.Count("GET", top) < 2 {
		time.Sleep(time.Millisecond)
	}
	first.Close()
	reg.Behave()
	close(stall)
	value, err := second.Result(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.idle(t)
	images, err := p.Store().Images()
	if err != nil || len(images) != 1 || images[0].ID != value.(engine.PullResult).IDs[0] {
		t.Errorf("images: %+v, %v", images, err)
	}
	layers, err := p.Store().Layers()
	if err != nil || len(layers) != 3 {
		t.Errorf("%d layers, %v", len(layers), err)
	}
}

// TestPullKeepsLayersInside pulls images with layers that try to get out, unpacked by us and by the library. Whether one is
// taken or not: nothing outside changes, what is refused leaves nothing, and both ways judge alike.
func TestPullKeepsLayersInside(t *testing.T) {
	t.Parallel()
	taken := map[string]map[string]bool{}
	for _, way := range []string{"staged", "library"} {
		taken[way] = map[string]bool{}
		p := openPuller(t)
		if way == "library" {
			p.StageNothing()
		}
		s := newSentinel(t, p)
		reg := registrytest.New(t, registrytest.Options{})
		for name, entries := range hostileLayers(filepath.Join(s.dir, "secrets")) {
			pushLayers(t, reg, "hostile:1", gzipped(t, archivetest.Tar(t, entries...)))
			pushLayers(t, reg, "hostile:2", // the trap is in the layer below
				gzipped(t, archivetest.Tar(t, entries[:1]...)), gzipped(t, archivetest.Tar(t, entries[1:]...)))
			for _, image := range []string{"hostile:1", "hostile:2"} {
				result, err := p.pull(t, reg.Ref(image), quick())
				p.idle(t)
				s.check(t, p)
				taken[way][name+" "+image] = err == nil
				if err == nil {
					if _, err := p.Remove(t.Context(), result.IDs, engine.RemoveOptions{}); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				p.wantNothing(t)
			}
		}
		noDevices(t, p.dirs.Tmp)
	}
	if diff := cmp.Diff(taken["library"], taken["staged"]); diff != "" {
		t.Errorf("what was taken (-library +staged):\n%s", diff)
	}
}
