package engine_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/progress"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// plain are options for a registry on plain HTTP that fails without delay.
func plain(destination string) engine.PushOptions {
	return engine.PushOptions{Destination: destination, TLSVerify: new(false), RetryDelay: new(time.Millisecond)}
}

func (p puller) push(t testing.TB, name string, o engine.PushOptions) (engine.PushResult, error) {
	t.Helper()
	w, err := p.Push(t.Context(), name, o)
	if err != nil {
		return engine.PushResult{}, err
	}
	defer w.Close()
	value, err := w.Result(t.Context())
	if err != nil {
		return engine.PushResult{}, err
	}
	return value.(engine.PushResult), nil
}

func (p puller) mustPush(t testing.TB, name string, o engine.PushOptions) string {
	t.Helper()
	r, err := p.push(t, name, o)
	if err != nil {
		t.Fatalf("push %s to %s: %v", name, o.Destination, err)
	}
	return r.Digest
}

// fetched is a manifest as a registry has it.
type fetched struct {
	MediaType string               `json:"mediaType"`
	Schema    int                  `json:"schemaVersion"`
	Config    imgspec.Descriptor   `json:"config"`
	Layers    []imgspec.Descriptor `json:"layers"`
	Manifests []imgspec.Descriptor `json:"manifests"`
	digest    string
}

// manifestAt asks a registry for a manifest.
func manifestAt(t testing.TB, reg interface{ Ref(string) string }, image string) fetched {
	t.Helper()
	repository, tag, _ := strings.Cut(image, ":")
	host := strings.TrimSuffix(reg.Ref(""), "/")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/"+repository+"/manifests/"+tag, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["Accept"] = append(manifest.DefaultRequestedManifestMIMETypes, manifest.DockerV2Schema1SignedMediaType)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", image, res.Status, err)
	}
	var m fetched
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	if m.MediaType == "" {
		m.MediaType = res.Header.Get("Content-Type")
	}
	sum, err := manifest.Digest(data)
	if err != nil {
		t.Fatal(err)
	}
	m.digest = sum.String()
	return m
}

func TestPushFormats(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, layers := putSaved(t, p)
	reg := registrytest.New(t, registrytest.Options{})
	level := 1
	for name, test := range map[string]struct {
		change        func(*engine.PushOptions)
		manifest, end string
	}{
		"default": {func(*engine.PushOptions) {}, imgspec.MediaTypeImageManifest, "+gzip"},
		"oci":     {func(o *engine.PushOptions) { o.Format = engine.ManifestOCI }, imgspec.MediaTypeImageManifest, "+gzip"},
		"v2s2":    {func(o *engine.PushOptions) { o.Format = engine.ManifestV2S2 }, manifest.DockerV2Schema2MediaType, ".gzip"},
		"v2s1":    {func(o *engine.PushOptions) { o.Format = engine.ManifestV2S1 }, manifest.DockerV2Schema1SignedMediaType, ""},
		"zstd": {
			func(o *engine.PushOptions) { o.CompressionFormat, o.CompressionLevel = engine.Zstd, &level },
			imgspec.MediaTypeImageManifest, "+zstd",
		},
		"chunked": {func(o *engine.PushOptions) { o.CompressionFormat = engine.ZstdChunked }, imgspec.MediaTypeImageManifest, "+zstd"},
	} {
		t.Run(name, func(t *testing.T) {
			o := plain(reg.Ref(name + ":1"))
			test.change(&o)
			sum := p.mustPush(t, "saved:1", o)
			m := manifestAt(t, reg, name+":1")
			if m.digest != sum || m.MediaType != test.manifest {
				t.Errorf("the registry has %s %s, the push said %s", m.MediaType, m.digest, sum)
			}
			if m.Schema == 1 {
				return
			}
			if m.Config.Digest.Encoded() != ids[0] || len(m.Layers) != 2 {
				t.Errorf("configuration %s, %d layers", m.Config.Digest, len(m.Layers))
			}
			for _, l := range m.Layers {
				if !strings.HasSuffix(l.MediaType, test.end) || l.Size >= int64(len(layers[0])) {
					t.Errorf("layer %+v", l)
				}
			}
			q := openPuller(t)
			if r := q.mustPull(t, o.Destination, quick()); r.IDs[0] != ids[0] {
				t.Errorf("pulled back: %+v", r)
			}
		})
	}
}

// The registry has the layers already, but in a compression that the format does not know.
func TestPushAfterAnotherCompression(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	reg := registrytest.New(t, registrytest.Options{})
	for _, compression := range []engine.Compression{engine.Zstd, engine.ZstdChunked} {
		for _, format := range []engine.ManifestFormat{engine.ManifestV2S1, engine.ManifestV2S2, engine.ManifestOCI} {
			o := plain(reg.Ref("several:1"))
			o.CompressionFormat = compression
			p.mustPush(t, "saved:1", o)
			o.CompressionFormat, o.Format = "", format
			p.mustPush(t, "saved:1", o)
			for _, l := range manifestAt(t, reg, "several:1").Layers {
				if !strings.HasSuffix(l.MediaType, "gzip") {
					t.Errorf("%s after %s: layer %+v", format, compression, l)
				}
			}
		}
	}
}

func TestPushGoesToTheImagesName(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	reg := registrytest.New(t, registrytest.Options{})
	id := enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{reg.Ref("own/name:tag")}})
	sum := p.mustPush(t, reg.Ref("own/name:tag"), plain(""))
	if m := manifestAt(t, reg, "own/name:tag"); m.digest != sum {
		t.Errorf("the registry has %s", m.digest)
	}
	_, err := p.push(t, id, plain(""))
	wantFailure(t, "push an id to nowhere", err, "InvalidParameter")
	p.mustPush(t, id, plain("docker://"+reg.Ref("by/id")))
	manifestAt(t, reg, "by/id:latest")
}

func TestPushSkipsWhatIsThere(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	reg := registrytest.New(t, registrytest.Options{})
	first := p.mustPush(t, "saved:1", plain(reg.Ref("a:1")))
	if n := reg.Count(http.MethodPatch, "/blobs/uploads/"); n != 3 {
		t.Errorf("%d uploads, want two layers and a configuration", n)
	}
	reg.ForgetRequests()
	if second := p.mustPush(t, "saved:1", plain(reg.Ref("a:2"))); second != first {
		t.Errorf("first %s, then %s", first, second)
	}
	if n := reg.Count("", "/blobs/uploads/"); n != 0 {
		t.Errorf("%d uploads of what is there", n)
	}
	newest := p.Jobs().List(0)
	s := newest[len(newest)-1].Progress
	if s.LayersDone != 2 || s.Cached == 0 {
		t.Errorf("progress in the end: %+v", s)
	}
	for _, b := range s.Blobs {
		if b.Kind == progress.Layer && b.State != progress.BlobSkipped {
			t.Errorf("blob in the end: %+v", b)
		}
	}
}

func TestPushMountsFromOtherRepositories(t *testing.T) {
	t.Parallel()
	reg := registrytest.Debian(t, registrytest.DebianOptions{})
	p := openPuller(t)
	putSaved(t, p)
	p.mustPush(t, "saved:1", plain(reg.Ref("first/repo:1")))
	before := strings.Count(reg.Log(), "PATCH")
	each := before / 3 // two layers and the configuration
	if each == 0 {
		t.Fatal("the log tells of no upload")
	}
	p.mustPush(t, "saved:1", plain(reg.Ref("second/repo:1")))
	if m := manifestAt(t, reg, "second/repo:1"); len(m.Layers) != 2 {
		t.Errorf("%d layers", len(m.Layers))
	}
	if after := strings.Count(reg.Log(), "PATCH"); after != before+each {
		t.Errorf("the log has %d lines of uploads, then %d: not one for the configuration alone", before, after)
	}
	if !strings.Contains(reg.Log(), "mount=sha256") {
		t.Error("the log tells of no mount")
	}
}

// A registry says where to send an upload. The library would send the credentials there, too.
func TestPushManifestList(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	enginetest.AddList(t, p.Store(), []string{"localhost/list:latest"}, ids...)
	reg := registrytest.New(t, registrytest.Options{})
	o := plain(reg.Ref("list:1"))
	o.All = true
	sum := p.mustPush(t, "list", o)
	list := manifestAt(t, reg, "list:1")
	if list.digest != sum || list.MediaType != imgspec.MediaTypeImageIndex || len(list.Manifests) != 2 {
		t.Fatalf("the registry has %+v", list)
	}
	for i, d := range list.Manifests {
		m := manifestAt(t, reg, "list:"+d.Digest.String())
		if m.Config.Digest.Encoded() != ids[i] {
			t.Errorf("image %d of the list has configuration %s", i, m.Config.Digest)
		}
	}
	alone := registrytest.Debian(t, registrytest.DebianOptions{})
	_, err := p.push(t, "list", plain(alone.Ref("list:1")))
	if errdefs.Name(err) != "ReferenceNotFound" || !strings.Contains(err.Error(), "push them too, with all") {
		t.Errorf("a list whose images the registry does not have: %v", err)
	}
	if _, err := p.Remove(t.Context(), []string{ids[1]}, engine.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	_, err = p.push(t, "list", o)
	wantFailure(t, "push a list whose image is not here", err, "ImageNotFound")
}

func TestPushToAPath(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, layers := putSaved(t, p)
	dir := t.TempDir()
	o := engine.PushOptions{Destination: "oci-archive:" + dir + "/a.tar:other:2"}
	_, err := p.push(t, "saved:1", o)
	wantFailure(t, "push to a path as another", err, "PermissionDenied")
	o.AllowPath = true
	sum := p.mustPush(t, "saved:1", o)
	data, err := os.ReadFile(dir + "/a.tar")
	if err != nil {
		t.Fatal(err)
	}
	files := untar(t, data)
	checkOCI(t, files, "other:2")
	if index := parse[imgspec.Index](t, files["index.json"]); index.Manifests[0].Digest.String() != sum {
		t.Errorf("index %+v, the push said %s", index, sum)
	}
	_, err = p.push(t, "saved:1", o)
	wantFailure(t, "push over a file", err, "InvalidReference")

	o.Destination, o.Format = "dir:"+dir+"/dir", engine.ManifestV2S2
	p.mustPush(t, ids[0], o)
	m := parse[fetched](t, readTree(t, dir+"/dir")["manifest.json"])
	if m.MediaType != manifest.DockerV2Schema2MediaType || m.Layers[0].Digest != digest.FromBytes(layers[0]) {
		t.Errorf("the folder has %+v", m)
	}
	o.Destination, o.Format = "docker-archive:"+dir+"/other.tar:other", ""
	p.mustPush(t, "saved:1", o)
	if data, err := os.ReadFile(dir + "/other.tar"); err != nil || !bytes.Contains(untar(t, data)["manifest.json"], []byte(`"docker.io/library/other:latest"`)) {
		t.Errorf("docker archive with another name: %v", err)
	}
	o.Destination = "docker-archive:" + dir + "/d.tar"
	p.mustPush(t, "saved:1", o)
	if data, err := os.ReadFile(dir + "/d.tar"); err != nil || !bytes.Contains(untar(t, data)["manifest.json"], []byte("saved:1")) {
		t.Errorf("docker archive: %v", err)
	}
}

func TestPushAndSaveAreTold(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	reg := registrytest.New(t, registrytest.Options{})
	w, err := p.Watch(t.Context(), engine.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_, err = p.push(t, "missing", plain(reg.Ref("a:1")))
	wantFailure(t, "push what is not there", err, "ImageNotFound")
	p.mustPush(t, "saved:1", plain(reg.Ref("a:1")))
	p.saveBytes(t, engine.SaveOptions{}, "saved:1")
	want := []events.Event{{Kind: events.Pushed, ID: ids[0], Name: reg.Ref("a:1")}, {Kind: events.Saved, ID: ids[0], Name: savedName}}
	for got, err := range w.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got.Time = time.Time{}
		if got != want[0] {
			t.Errorf("told of %+v, want %+v", got, want[0])
		}
		if want = want[1:]; len(want) == 0 {
			return
		}
	}
}
