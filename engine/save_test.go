package engine_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/progress"
)

const (
	savedName = "docker.io/library/saved:1"
	otherName = "localhost/other:latest"
)

// putSaved puts two images that share a layer into a store, and returns their ids and layers.
// bigTar makes a layer with a folder, a file of this length, a link and an empty file.
func (p puller) save(t testing.TB, o engine.SaveOptions, names ...string) (engine.SaveResult, error) {
	t.Helper()
	w, err := p.Save(t.Context(), names, o)
	if err != nil {
		return engine.SaveResult{}, err
	}
	defer w.Close()
	value, err := w.Result(t.Context())
	if err != nil {
		return engine.SaveResult{}, err
	}
	return value.(engine.SaveResult), nil
}

// saveBytes saves to memory.
func (p puller) saveBytes(t testing.TB, o engine.SaveOptions, names ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	o.Output = &buf
	r, err := p.save(t, o, names...)
	if err != nil {
		t.Fatalf("save %v: %v", names, err)
	}
	if r.Size != int64(buf.Len()) {
		t.Errorf("the size is said to be %d, %d bytes came", r.Size, buf.Len())
	}
	return buf.Bytes()
}

// untar reads a tar's regular files; others are nil.
// readTree reads the files of a folder.
// library copies images with the library's own sources and destinations.
func TestSaveDockerArchiveOfSeveral(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, layers := putSaved(t, p)
	files := untar(t, p.saveBytes(t, engine.SaveOptions{Format: engine.DockerArchive}, "other", ids[0], "docker.io/library/saved:1"))
	type item struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	name := func(i int) string { return digest.FromBytes(layers[i]).Encoded() + ".tar" }
	want := []item{
		{ids[1] + ".json", []string{otherName}, []string{name(0), name(2)}},
		{ids[0] + ".json", []string{"saved:1"}, []string{name(0), name(1)}},
	}
	want[1].RepoTags = []string{savedName}
	got := parse[[]item](t, files["manifest.json"])
	for i := range got {
		for j, tag := range got[i].RepoTags { // the library shortens docker's own names
			if named, err := reference.ParseNormalizedNamed(tag); err == nil {
				got[i].RepoTags[j] = named.String()
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifest.json (-want +got):\n%s", diff)
	}
	for i := range layers {
		if !bytes.Equal(files[name(i)], layers[i]) {
			t.Errorf("layer %d is not the one that was put in", i)
		}
	}
}

// checkOCI checks an OCI layout and returns the manifest of its only image.
func TestSaveOCI(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, layers := putSaved(t, p)
	dir := t.TempDir()
	ref, err := ocilayout.NewReference(dir, savedName)
	if err != nil {
		t.Fatal(err)
	}
	library(t, p, ids[0], ref, imgspec.MediaTypeImageManifest, nil)
	theirs := readTree(t, dir)

	compressed := p.saveBytes(t, engine.SaveOptions{Tags: []string{"more:2"}}, "saved:1")
	files := untar(t, compressed)
	m := checkOCI(t, files, savedName, "localhost/more:2")
	for name, data := range theirs {
		if strings.HasPrefix(name, "blobs/") && !bytes.Equal(files[name], data) {
			t.Errorf("blob %s of the library's layout is another one", name)
		}
	}
	for i, l := range m.Layers {
		gz, err := gzip.NewReader(bytes.NewReader(files["blobs/sha256/"+l.Digest.Encoded()]))
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(gz); err != nil || !bytes.Equal(data, layers[i]) || l.MediaType != imgspec.MediaTypeImageLayerGzip {
			t.Errorf("layer %d, %s: %d bytes, %v", i, l.MediaType, len(data), err)
		}
	}

	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.WriteString("before"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.save(t, engine.SaveOptions{Tags: []string{"more:2"}, Output: out}, "saved:1"); err != nil {
		t.Fatal(err)
	}
	p.idle(t)
	if got, err := os.ReadFile(out.Name()); err != nil || !bytes.Equal(got, append([]byte("before"), compressed...)) {
		t.Errorf("a file has %d bytes, a stream has other %d, %v", len(got), len(compressed), err)
	}

	m = checkOCI(t, untar(t, p.saveBytes(t, engine.SaveOptions{AcceptUncompressed: true}, ids[0])), "")
	if len(m.Layers) != 2 || m.Layers[0].Digest != digest.FromBytes(layers[0]) || m.Layers[0].MediaType != imgspec.MediaTypeImageLayer {
		t.Errorf("uncompressed layers: %+v", m.Layers)
	}
}

func TestSaveFolders(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	_, layers := putSaved(t, p)
	for _, format := range []engine.ArchiveFormat{engine.DockerDir, engine.OCIDir} {
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprint(format, compress), func(t *testing.T) {
				t.Parallel()
				o := engine.SaveOptions{Format: format, Compress: compress, AcceptUncompressed: !compress}
				stream := untar(t, p.saveBytes(t, o, "saved:1"))
				o.Path, o.AllowPath = filepath.Join(t.TempDir(), "out"), true
				r, err := p.save(t, o, "saved:1")
				if err != nil {
					t.Fatal(err)
				}
				tree := readTree(t, o.Path)
				if diff := cmp.Diff(stream, tree); diff != "" {
					t.Errorf("the tar and the folder differ")
				}
				var size int64
				for _, data := range tree {
					size += int64(len(data))
				}
				if r.Size != size {
					t.Errorf("the size is said to be %d, it is %d", r.Size, size)
				}
				wantMode(t, o.Path, 0o755)
				if format == engine.OCIDir {
					checkOCI(t, tree, savedName)
					wantMode(t, filepath.Join(o.Path, "blobs/sha256"), 0o755)
					return
				}
				wantMode(t, filepath.Join(o.Path, "manifest.json"), 0o644)
				m := parse[manifest.Schema2](t, tree["manifest.json"])
				if string(tree["version"]) != "Directory Transport Version: 1.1\n" || len(m.LayersDescriptors) != 2 {
					t.Errorf("version %q, manifest %+v", tree["version"], m)
				}
				first := m.LayersDescriptors[0]
				if plain := first.Digest == digest.FromBytes(layers[0]); plain == compress || tree[first.Digest.Encoded()] == nil {
					t.Errorf("layer %+v", first)
				}
			})
		}
	}
}

// temporary returns the name of the engine's folder for temporary files.
// untilTransferring waits until bytes of a job have gone over.
func TestSaveTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	_, layers := putSaved(t, p)
	var once sync.Once
	out := writerFunc(func(b []byte) (int, error) {
		once.Do(func() {
			if s := p.Jobs().List(0)[0].Progress; s == nil || s.Total == nil {
				t.Errorf("progress at the first byte: %+v", s)
			}
		})
		return len(b), nil
	})
	w, err := p.Save(t.Context(), []string{"saved:1", "other"}, engine.SaveOptions{Format: engine.DockerArchive, Output: out})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Result(t.Context()); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for u, err := range w.Updates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range u.Lines {
			lines = append(lines, l.Text)
		}
	}
	if len(lines) == 0 {
		t.Error("it said nothing")
	}
	job := p.Jobs().List(0)[0]
	var sum int64
	for _, l := range layers {
		sum += int64(len(l))
	}
	s := job.Progress
	if s == nil || s.LayersDone != 3 || *s.LayersTotal != 3 || s.Done < sum || s.Total == nil || *s.Total != s.Done {
		t.Errorf("progress in the end: %+v; the layers have %d bytes", s, sum)
	}
	for _, b := range s.Blobs {
		if b.State != progress.BlobDone {
			t.Errorf("blob in the end: %+v", b)
		}
	}
}

// Programs of the distribution read what Save writes.
// wantFailure fails unless err is of this name.
