package engine_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/image/v5/copy"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/progress"
)

const (
	savedName = "docker.io/library/saved:1"
	otherName = "localhost/other:latest"
)

// putSaved puts two images that share a layer into a store, and returns their ids and layers.
func putSaved(t testing.TB, p puller) (ids []string, layers [][]byte) {
	t.Helper()
	for i := range 3 {
		layers = append(layers, bigTar(t, fmt.Sprintf("layer-%d/", i), 100<<10))
	}
	ids = append(ids, enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{savedName}, Tars: layers[:2]}))
	ids = append(ids, enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{otherName}, Tars: [][]byte{layers[0], layers[2]}}))
	return ids, layers
}

// bigTar makes a layer with a folder, a file of this length, a link and an empty file.
func bigTar(t testing.TB, dir string, size int) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	text := bytes.Repeat([]byte(dir+" 0123456789\n"), size/10)[:size]
	for _, h := range []*tar.Header{
		{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: dir + "file", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(size)},
		{Name: dir + "empty", Typeflag: tar.TypeReg, Mode: 0o600},
		{Name: dir + "hard", Typeflag: tar.TypeLink, Linkname: dir + "file", Mode: 0o644},
	} {
		h.ModTime = enginetest.Epoch
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

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
func untar(t testing.TB, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := files[h.Name]; twice {
			t.Errorf("%s is in the tar twice", h.Name)
		}
		files[h.Name] = nil
		if h.Typeflag == tar.TypeReg {
			if files[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// readTree reads the files of a folder.
func readTree(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil || rel == "." {
			return err
		}
		if d.IsDir() {
			files[rel+"/"] = nil
			return nil
		}
		files[rel], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func parse[T any](t testing.TB, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

// library copies images with the library's own sources and destinations.
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
func checkOCI(t testing.TB, files map[string][]byte, names ...string) imgspec.Manifest {
	t.Helper()
	if got := parse[imgspec.ImageLayout](t, files["oci-layout"]); got.Version != "1.0.0" {
		t.Errorf("oci-layout: %+v", got)
	}
	index := parse[imgspec.Index](t, files["index.json"])
	var got []string
	for _, d := range index.Manifests {
		got = append(got, d.Annotations[imgspec.AnnotationRefName])
		if d.Digest != index.Manifests[0].Digest || d.MediaType != imgspec.MediaTypeImageManifest {
			t.Errorf("a descriptor of the index: %+v", d)
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for name, data := range files {
		if strings.HasPrefix(name, "blobs/sha256/") && data != nil && digest.FromBytes(data).Encoded() != path.Base(name) {
			t.Errorf("blob %s has another digest", name)
		}
	}
	m := parse[imgspec.Manifest](t, files["blobs/sha256/"+index.Manifests[0].Digest.Encoded()])
	if int64(len(files["blobs/sha256/"+m.Config.Digest.Encoded()])) != m.Config.Size {
		t.Error("the configuration is missing, or has another length")
	}
	return m
}

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

func wantMode(t testing.TB, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != want {
		t.Errorf("%s has mode %s, want %s", path, info.Mode().Perm(), want)
	}
}

func TestSaveNeedsNoCopy(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	if err := os.RemoveAll(filepath.Join(p.dirs.Tmp, temporary(t, p))); err != nil { // whoever wants to copy fails
		t.Fatal(err)
	}
	for _, o := range []engine.SaveOptions{
		{Format: engine.DockerArchive}, {AcceptUncompressed: true}, {Format: engine.DockerDir}, {Format: engine.OCIDir, AcceptUncompressed: true},
	} {
		p.saveBytes(t, o, "saved:1")
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.save(t, engine.SaveOptions{Output: out}, "saved:1"); err != nil {
		t.Errorf("compressed, to a file: %v", err)
	}
}

// temporary returns the name of the engine's folder for temporary files.
func temporary(t testing.TB, p puller) string {
	t.Helper()
	entries, err := os.ReadDir(p.dirs.Tmp)
	if err != nil || len(entries) != 1 {
		t.Fatalf("temporary folders: %v, %v", entries, err)
	}
	return entries[0].Name()
}

func TestSavePath(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	dir := t.TempDir()
	o := engine.SaveOptions{Path: filepath.Join(dir, "a:b"), AllowPath: true}
	if _, err := p.save(t, o, "saved:1"); err != nil {
		t.Fatal(err)
	}
	wantMode(t, o.Path, 0o644)
	before, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.save(t, o, "other")
	wantFailure(t, "save over a file", err, "InvalidParameter")
	if after, err := os.ReadFile(o.Path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the file was changed: %v", err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, format := range []engine.ArchiveFormat{engine.DockerArchive, engine.OCIDir} {
		for _, path := range []string{filepath.Join(dir, "link"), dir} {
			_, err = p.save(t, engine.SaveOptions{Path: path, AllowPath: true, Format: format}, "other")
			wantFailure(t, "save over "+path, err, "InvalidParameter")
		}
		_, err = p.save(t, engine.SaveOptions{Path: filepath.Join(dir, "failed"), AllowPath: true, Format: format}, "missing")
		wantFailure(t, "save what is not there", err, "ImageNotFound")
	}
	p.idle(t)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("in the folder is now: %v, %v", entries, err)
	}
}

func TestSaveRefusals(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	enginetest.AddList(t, p.Store(), []string{"localhost/list:latest"}, ids[0])
	enginetest.AddList(t, p.Store(), []string{"localhost/empty:latest"})
	reader, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	buf := new(bytes.Buffer)
	one := []string{"saved:1"}
	tests := []struct {
		names []string
		o     engine.SaveOptions
		want  string
	}{
		{nil, engine.SaveOptions{Output: buf}, "InvalidParameter"},
		{[]string{""}, engine.SaveOptions{Output: buf}, "InvalidParameter"},
		{one, engine.SaveOptions{}, "InvalidParameter"},
		{one, engine.SaveOptions{Output: buf, Path: "/x", AllowPath: true}, "InvalidParameter"},
		{one, engine.SaveOptions{Path: "x", AllowPath: true}, "InvalidParameter"},
		{one, engine.SaveOptions{Path: "/x"}, "PermissionDenied"},
		{one, engine.SaveOptions{Output: buf, Format: "zip"}, "InvalidFormat"},
		{[]string{"saved:1", "other"}, engine.SaveOptions{Output: buf}, "InvalidFormat"},
		{one, engine.SaveOptions{Output: buf, Compress: true}, "InvalidParameter"},
		{one, engine.SaveOptions{Output: buf, Tags: []string{"A"}}, "InvalidReference"},
		{one, engine.SaveOptions{Output: buf, Tags: []string{"a"}, Format: engine.DockerDir}, "InvalidParameter"},
		{[]string{"saved:1", "other"}, engine.SaveOptions{Output: buf, Tags: []string{"a"}, Format: engine.DockerArchive}, "InvalidParameter"},
		{one, engine.SaveOptions{Output: reader}, "InvalidParameter"},
		{[]string{"missing"}, engine.SaveOptions{Output: buf}, "ImageNotFound"},
		{[]string{"empty"}, engine.SaveOptions{Output: buf}, "ImageNotFound"},
	}
	for _, test := range tests {
		_, err := p.save(t, test.o, test.names...)
		wantFailure(t, fmt.Sprintf("save %q with %+v", test.names, test.o), err, test.want)
	}
	if buf.Len() > 0 {
		t.Errorf("%d bytes were written", buf.Len())
	}
	checkOCI(t, untar(t, p.saveBytes(t, engine.SaveOptions{}, "list")), "localhost/list:latest")
}

func TestSaveToAPipeThatNobodyReads(t *testing.T) {
	t.Parallel()
	for _, format := range []engine.ArchiveFormat{engine.DockerArchive, engine.OCIArchive} {
		for kind, open := range map[string]func(testing.TB) (io.WriteCloser, io.Closer){"pipe": pipe, "socket": socket} {
			t.Run(kind+" "+string(format), func(t *testing.T) {
				t.Parallel()
				p := openPuller(t)
				enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{savedName}, Tars: [][]byte{bigTar(t, "d/", 8<<20)}})
				out, in := open(t)
				w, err := p.Save(t.Context(), []string{"saved:1"}, engine.SaveOptions{Format: format, AcceptUncompressed: true, Output: out})
				if err != nil {
					t.Fatal(err)
				}
				untilTransferring(t, w)
				// Nobody waits for the reader: the store can be changed, and its layers read.
				enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{otherName}, Layers: []string{"new"}})
				p.saveBytes(t, engine.SaveOptions{}, "saved:1")
				if err := p.Tag(t.Context(), otherName, []string{"localhost/more:latest"}); err != nil {
					t.Error(err)
				}
				w.Close() // the last watcher leaves: it is cancelled
				p.idle(t)
				if err := in.Close(); err != nil {
					t.Error(err)
				}
				if _, err := p.Remove(t.Context(), []string{"saved:1"}, engine.RemoveOptions{}); err != nil {
					t.Errorf("remove after the cancelled save: %v", err)
				}
			})
		}
	}
}

func pipe(t testing.TB) (io.WriteCloser, io.Closer) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return w, r
}

func socket(t testing.TB) (io.WriteCloser, io.Closer) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	file, err := c.(*net.UnixConn).File()
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	return file, peer
}

// untilTransferring waits until bytes of a job have gone over.
func untilTransferring(t testing.TB, w *jobs.Watch) {
	t.Helper()
	for u, err := range w.Updates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Progress != nil && u.Progress.Phase == progress.Transferring && u.Progress.Done > 0 {
			return
		}
	}
	_, err := w.Result(t.Context())
	t.Fatalf("it ended before: %v", err)
}

func TestSaveToAReaderThatHangsUp(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{savedName}, Tars: [][]byte{bigTar(t, "d/", 8<<20)}})
	for _, format := range []engine.ArchiveFormat{engine.DockerArchive, engine.OCIArchive} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		watch, err := p.Save(t.Context(), []string{"saved:1"}, engine.SaveOptions{Format: format, AcceptUncompressed: true, Output: w})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = watch.Result(t.Context())
		wantFailure(t, "save to a reader that hangs up", err, "Cancelled")
		watch.Close()
	}
}

func TestSaveToAFullDisk(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	_, err = p.save(t, engine.SaveOptions{Output: full}, "saved:1")
	wantFailure(t, "save to a full disk", err, "StorageFull")
}

func TestSaveOfADamagedLayerFails(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	img := p.image(t, ids[0])
	if err := os.WriteFile(filepath.Join(p.dirs.Root, "overlay", img.TopLayer, "diff/layer-1/file"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, format := range []engine.ArchiveFormat{engine.DockerArchive, engine.OCIArchive, engine.DockerDir} {
		_, err := p.save(t, engine.SaveOptions{Format: format, Output: new(bytes.Buffer)}, "saved:1")
		wantFailure(t, "save a damaged layer", err, "Failed")
		if err == nil || !strings.Contains(err.Error(), "layer-1/file") {
			t.Errorf("the file is not named: %v", err)
		}
	}
}

func TestSaveTellsHowFarItIs(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	_, layers := putSaved(t, p)
	w, err := p.Save(t.Context(), []string{"saved:1", "other"}, engine.SaveOptions{Format: engine.DockerArchive, Output: io.Discard})
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

func TestSaveClosesItsOutput(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	for _, name := range []string{"saved:1", "missing", ""} {
		closed := make(chan struct{})
		_, err := p.save(t, engine.SaveOptions{Output: closer{func() { close(closed) }}}, name)
		if (err == nil) != (name == "saved:1") {
			t.Errorf("save %q: %v", name, err)
		}
		<-closed
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Save(ctx, []string{"saved:1"}, engine.SaveOptions{Output: io.Discard})
	if _, ok := errors.AsType[*errdefs.Cancelled](err); !ok {
		t.Errorf("save with a context that has ended: %v", err)
	}
}

type closer struct{ close func() }

func (c closer) Write(p []byte) (int, error) { return len(p), nil }
func (c closer) Close() error                { c.close(); return nil }

// wantFailure fails unless err is of this name.
func wantFailure(t testing.TB, what string, err error, name string) {
	t.Helper()
	if errdefs.Name(err) != name {
		t.Errorf("%s: %v, want %s", what, err, name)
	}
}
