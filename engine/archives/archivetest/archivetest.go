// Package archivetest makes archives of images for tests: good ones, and the pieces for bad ones.
//
// Only tests may import it.
package archivetest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ulikunitz/xz"
)

// Epoch is when everything here was made.
var Epoch = time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)

// Compressions are what Compress knows. The first is none.
var Compressions = []string{"", "gzip", "zstd", "bzip2", "xz"}

// Entry is an entry of a tar archive. Without a Type it is a regular file, or a folder if its name ends with a slash.
type Entry struct {
	// Name, Type and Link are as in tar.Header.
	Name string
	Type byte
	Link string
	// Data is a file's content.
	Data []byte
	// Mode is its permissions. Zero: 0644, or 0755 for a folder.
	Mode int64
}

// Image describes an image. The zero value is one without a name and with a single empty layer, for linux/amd64.
type Image struct {
	// Names are what the archive calls it, as they are to stand there.
	Names []string
	// Layers are tars, base first.
	Layers [][]byte
	// Compression is that of its layers.
	Compression string
	// Platform is what it is for. Zero: linux/amd64.
	Platform ociv1.Platform
	// Config is how a container is run from it.
	Config ociv1.ImageConfig
}

// Tar makes a tar archive.
func Tar(t testing.TB, entries ...Entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.Name, Typeflag: e.Type, Linkname: e.Link, Size: int64(len(e.Data)), Mode: e.Mode, ModTime: Epoch}
		if h.Typeflag == 0 && e.Name != "" && e.Name[len(e.Name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Layer makes a layer with a file of this text in it.
func Layer(t testing.TB, text string) []byte {
	t.Helper()
	return Tar(t, Entry{Name: "etc/"}, Entry{Name: "etc/text", Data: []byte(text)})
}

// Compress compresses data. The test is skipped if that needs a program that is missing.
func Compress(t testing.TB, compression string, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w interface {
		Write([]byte) (int, error)
		Close() error
	}
	var err error
	switch compression {
	case "":
		return data
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zstd":
		w, err = zstd.NewWriter(&buf)
	case "xz":
		w, err = xz.WriterConfig{DictCap: 1 << 16}.NewWriter(&buf)
	case "bzip2":
		return bzip2(t, data)
	default:
		t.Fatalf("compression %q", compression)
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func bzip2(t testing.TB, data []byte) []byte {
	path, err := exec.LookPath("bzip2")
	if err != nil {
		t.Skip("there is no bzip2 to compress with")
	}
	cmd := exec.Command(path, "-c")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// JSON encodes a document.
func JSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// blob is a document or a layer and its descriptor.
type blob struct {
	ociv1.Descriptor
	data []byte
}

func newBlob(mediaType string, data []byte) blob {
	return blob{ociv1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, data}
}

// ConfigOf returns the image's configuration.
func ConfigOf(t testing.TB, img Image) []byte {
	t.Helper()
	if img.Platform.OS == "" {
		img.Platform = ociv1.Platform{OS: "linux", Architecture: "amd64"}
	}
	config := ociv1.Image{Created: &Epoch, Platform: img.Platform, Config: img.Config}
	config.RootFS.Type = "layers"
	for _, l := range layersOf(t, img) {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l))
		config.History = append(config.History, ociv1.History{Created: &Epoch, CreatedBy: "a test"})
	}
	return JSON(t, config)
}

// ID returns the image's id.
func ID(t testing.TB, img Image) string {
	t.Helper()
	return digest.FromBytes(ConfigOf(t, img)).Encoded()
}

func layersOf(t testing.TB, img Image) [][]byte {
	t.Helper()
	if img.Layers == nil {
		return [][]byte{Tar(t)}
	}
	return img.Layers
}

// blobs returns an image's manifest, its configuration and its layers.
func blobs(t testing.TB, img Image) []blob {
	t.Helper()
	config := newBlob(ociv1.MediaTypeImageConfig, ConfigOf(t, img))
	m := ociv1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ociv1.MediaTypeImageManifest, Config: config.Descriptor}
	all := []blob{config}
	mediaTypes := map[string]string{"": ociv1.MediaTypeImageLayer, "gzip": ociv1.MediaTypeImageLayerGzip, "zstd": ociv1.MediaTypeImageLayerZstd}
	for _, l := range layersOf(t, img) {
		b := newBlob(mediaTypes[img.Compression], Compress(t, img.Compression, l))
		m.Layers = append(m.Layers, b.Descriptor)
		all = append(all, b)
	}
	return append([]blob{newBlob(ociv1.MediaTypeImageManifest, JSON(t, m))}, all...)
}

// Manifest returns the manifest that OCI and DockerDir give an image.
func Manifest(t testing.TB, img Image) []byte { return blobs(t, img)[0].data }

// Docker returns the entries of a docker-archive.
func Docker(t testing.TB, images ...Image) []Entry {
	t.Helper()
	type item struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var items []item
	var entries []Entry
	put := func(name string, data []byte) string {
		if !slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == name }) {
			entries = append(entries, Entry{Name: name, Data: data})
		}
		return name
	}
	for _, img := range images {
		i := item{RepoTags: img.Names}
		for _, l := range layersOf(t, img) {
			i.Layers = append(i.Layers, put(digest.FromBytes(l).Encoded()+".tar", Compress(t, img.Compression, l)))
		}
		config := ConfigOf(t, img)
		i.Config = put(digest.FromBytes(config).Encoded()+".json", config)
		items = append(items, i)
	}
	return append(entries, Entry{Name: "manifest.json", Data: JSON(t, items)})
}

// OCI returns the entries of an OCI layout. An image with several names is listed once for each.
func OCI(t testing.TB, images ...Image) []Entry {
	t.Helper()
	index := ociv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ociv1.MediaTypeImageIndex}
	var entries []Entry
	for _, img := range images {
		all := blobs(t, img)
		entries = putBlobs(entries, all)
		d := all[0].Descriptor
		if len(img.Names) == 0 {
			index.Manifests = append(index.Manifests, d)
		}
		for _, name := range img.Names {
			d.Annotations = map[string]string{ociv1.AnnotationRefName: name}
			index.Manifests = append(index.Manifests, d)
		}
	}
	return append(entries, layout(t, index)...)
}

// OCIList returns the entries of an OCI layout with one manifest list, of that name if it is not empty.
func OCIList(t testing.TB, name string, images ...Image) []Entry {
	t.Helper()
	list := ociv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ociv1.MediaTypeImageIndex}
	var entries []Entry
	for _, img := range images {
		all := blobs(t, img)
		entries = putBlobs(entries, all)
		d := all[0].Descriptor
		d.Platform = &img.Platform
		list.Manifests = append(list.Manifests, d)
	}
	b := newBlob(ociv1.MediaTypeImageIndex, JSON(t, list))
	entries = putBlobs(entries, []blob{b})
	if name != "" {
		b.Annotations = map[string]string{ociv1.AnnotationRefName: name}
	}
	index := ociv1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ociv1.Descriptor{b.Descriptor}}
	return append(entries, layout(t, index)...)
}

func layout(t testing.TB, index ociv1.Index) []Entry {
	t.Helper()
	return []Entry{
		{Name: "oci-layout", Data: JSON(t, ociv1.ImageLayout{Version: ociv1.ImageLayoutVersion})},
		{Name: "index.json", Data: JSON(t, index)},
	}
}

func putBlobs(entries []Entry, all []blob) []Entry {
	for _, b := range all {
		name := fmt.Sprintf("blobs/%s/%s", b.Digest.Algorithm(), b.Digest.Encoded())
		if !slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == name }) {
			entries = append(entries, Entry{Name: name, Data: b.data})
		}
	}
	return entries
}

// DockerDir returns the entries of a docker-dir.
func DockerDir(t testing.TB, img Image) []Entry {
	t.Helper()
	all := blobs(t, img)
	entries := []Entry{{Name: "version", Data: []byte("Directory Transport Version: 1.1\n")}, {Name: "manifest.json", Data: all[0].data}}
	for _, b := range all[1:] {
		if name := b.Digest.Encoded(); !slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == name }) {
			entries = append(entries, Entry{Name: name, Data: b.data})
		}
	}
	return entries
}

// WriteDir writes files into a new folder and returns its path.
func WriteDir(t testing.TB, entries []Entry) string {
	t.Helper()
	dir := t.TempDir()
	for _, e := range entries {
		path := filepath.Join(dir, e.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, e.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// WriteFile writes data into a new file, opens it for reading and returns it. It is closed when the test ends.
func WriteFile(t testing.TB, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // whoever read it may have closed it
	return f
}

// Pipe returns the reading end of a pipe that data comes through.
func Pipe(t testing.TB, data []byte) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = w.Write(data) // whoever reads may stop early
		_ = w.Close()
	}()
	t.Cleanup(func() {
		_ = r.Close() // whoever read it may have closed it
		<-done
	})
	return r
}
