package archives_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/archives/archivetest"
	"github.com/imaged-project/imaged/engine/errdefs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	amd64 = ociv1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = ociv1.Platform{OS: "linux", Architecture: "arm64"}
)

func options(t testing.TB) archives.Options {
	return archives.Options{TmpDir: t.TempDir(), Platform: &types.SystemContext{OSChoice: "linux", ArchitectureChoice: "amd64"}}
}

// open opens data as a file.
func open(t testing.TB, data []byte, o archives.Options) (*archives.Archive, error) {
	t.Helper()
	a, err := archives.Open(t.Context(), archivetest.WriteFile(t, data), o)
	if err == nil {
		t.Cleanup(func() {
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return a, err
}

func mustOpen(t testing.TB, data []byte) *archives.Archive {
	t.Helper()
	a, err := open(t, data, options(t))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// read reads all that an image has, as a copy does, and checks the digests.
func read(img *archives.Image) error {
	source, err := img.Reference().NewImageSource(context.Background(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // does nothing
	data, mime, err := source.GetManifest(context.Background(), nil)
	if err != nil {
		return err
	}
	if mime == ociv1.MediaTypeImageIndex {
		for d := range digestsIn(data) {
			if m, _, err := source.GetManifest(context.Background(), &d); err == nil {
				data = m
			}
		}
	}
	for d := range digestsIn(data) {
		body, size, err := source.GetBlob(context.Background(), types.BlobInfo{Digest: d, Size: -1}, none.NoCache)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil {
			return err
		}
		if int64(len(data)) != size || digest.FromBytes(data) != d {
			return fmt.Errorf("blob %s: not what it should be", d)
		}
	}
	return nil
}

// digestsIn finds the digests in a manifest.
func digestsIn(data []byte) map[digest.Digest]bool {
	all := map[digest.Digest]bool{}
	for part := range strings.SplitSeq(string(data), `"`) {
		if d := digest.Digest(part); d.Validate() == nil {
			all[d] = true
		}
	}
	return all
}

func image(t testing.TB, text string, names ...string) archivetest.Image {
	t.Helper()
	return archivetest.Image{Names: names, Layers: [][]byte{archivetest.Layer(t, "base"), archivetest.Layer(t, text)}}
}

func TestKindsAndNames(t *testing.T) {
	t.Parallel()
	one, two := image(t, "1", "one", "quay.io/x/one:v1"), image(t, "2")
	for _, c := range []struct {
		name    string
		kind    archives.Kind
		entries []archivetest.Entry
		want    [][]string
	}{
		{"docker", archives.DockerArchive, archivetest.Docker(t, one, two), [][]string{{"docker.io/library/one:latest", "quay.io/x/one:v1"}, nil}},
		{"oci", archives.OCIArchive, archivetest.OCI(t, one, two), [][]string{{"localhost/one:latest", "quay.io/x/one:v1"}, nil}},
		{"docker-dir", archives.DockerDir, archivetest.DockerDir(t, two), [][]string{nil}},
		{"list", archives.OCIArchive, archivetest.OCIList(t, "m", archivetest.Image{Platform: arm64}, archivetest.Image{Platform: amd64}), [][]string{{"localhost/m:latest"}}},
		{"both docker and oci", archives.DockerArchive, append(archivetest.OCI(t, two), archivetest.Docker(t, one)...), [][]string{{"docker.io/library/one:latest", "quay.io/x/one:v1"}}},
	} {
		for _, prefix := range []string{"", "./", "folder/"} {
			t.Run(c.name+" "+prefix, func(t *testing.T) {
				t.Parallel()
				var entries []archivetest.Entry
				if prefix != "" {
					entries = append(entries, archivetest.Entry{Name: prefix, Type: tar.TypeDir})
				}
				for _, e := range c.entries {
					e.Name = prefix + e.Name
					entries = append(entries, e)
				}
				a := mustOpen(t, archivetest.Tar(t, entries...))
				if a.Kind() != c.kind {
					t.Errorf("kind is %s", a.Kind())
				}
				var got [][]string
				for _, img := range a.Images() {
					got = append(got, img.Names())
					if err := read(img); err != nil {
						t.Error(err)
					}
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("names (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	img := image(t, "1", "one")
	for kind, entries := range map[archives.Kind][]archivetest.Entry{
		archives.OCIDir: archivetest.OCI(t, img), archives.DockerDir: archivetest.DockerDir(t, img),
	} {
		a, err := archives.OpenPath(t.Context(), archivetest.WriteDir(t, entries), options(t))
		if err != nil {
			t.Fatal(err)
		}
		if a.Kind() != kind {
			t.Errorf("kind is %s, want %s", a.Kind(), kind)
		}
		if err := errors.Join(read(a.Images()[0]), a.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	a := mustOpen(t, archivetest.Tar(t, archivetest.OCI(t, image(t, "1", "one"), image(t, "2", "quay.io/two:x"))...))
	for item, want := range map[string]int{"one": 0, "@0": 0, "@1": 1, "quay.io/two:x": 1, "localhost/one:latest": 0, "": -1, "@2": -1, "@-1": -1, "three": -1} {
		img, err := a.Find(item)
		if want < 0 && !isInvalid(err) || want >= 0 && img != a.Images()[want] {
			t.Errorf("%q: %v, %v", item, img, err)
		}
	}
}

func TestAllImagesOfAList(t *testing.T) {
	t.Parallel()
	o := options(t)
	entries := archivetest.OCIList(t, "m", archivetest.Image{Platform: arm64}, archivetest.Image{Platform: amd64})
	o.All = true
	a, err := open(t, archivetest.Tar(t, entries...), o)
	if err != nil {
		t.Fatal(err)
	}
	source, err := a.Images()[0].Reference().NewImageSource(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []ociv1.Platform{amd64, arm64} {
		m := archivetest.Manifest(t, archivetest.Image{Platform: p})
		got, _, err := source.GetManifest(t.Context(), new(digest.FromBytes(m)))
		if err != nil || !bytes.Equal(got, m) {
			t.Errorf("%v: %s, %v", p, got, err)
		}
	}
	// A list whose image for this host is missing, and one that holds one other image alone.
	withoutHost := slices.DeleteFunc(slices.Clone(entries), func(e archivetest.Entry) bool {
		return strings.HasSuffix(e.Name, digest.FromBytes(archivetest.Manifest(t, archivetest.Image{Platform: amd64})).Encoded())
	})
	if _, err := open(t, archivetest.Tar(t, withoutHost...), o); !isInvalid(err) {
		t.Errorf("all, of which one is missing: %v", err)
	}
	if img := mustOpen(t, archivetest.Tar(t, withoutHost...)).Images()[0]; img.ID() != archivetest.ID(t, archivetest.Image{Platform: arm64}) {
		t.Error("the only image of the list was not taken")
	}
}

func TestSymbolicLinksOfOldDockerArchives(t *testing.T) {
	t.Parallel()
	img := archivetest.Image{Layers: [][]byte{archivetest.Layer(t, "same"), archivetest.Layer(t, "other"), archivetest.Layer(t, "same")}}
	manifest := `[{"Config":"c.json","Layers":["a/layer.tar","b/layer.tar","d/layer.tar"]}]`
	a := mustOpen(t, archivetest.Tar(
		t,
		archivetest.Entry{Name: "d/layer.tar", Type: tar.TypeSymlink, Link: "../a/layer.tar"},
		archivetest.Entry{Name: "a/layer.tar", Data: img.Layers[0]}, archivetest.Entry{Name: "b/layer.tar", Data: img.Layers[1]},
		archivetest.Entry{Name: "c.json", Data: archivetest.ConfigOf(t, img)}, archivetest.Entry{Name: "manifest.json", Data: []byte(manifest)},
	))
	if err := read(a.Images()[0]); err != nil {
		t.Error(err)
	}
}

func isInvalid(err error) bool {
	_, ok := errors.AsType[*errdefs.InvalidArchive](err)
	return ok
}

// replace changes the content of one entry.
func replace(entries []archivetest.Entry, name string, change func(string) string) []archivetest.Entry {
	entries = slices.Clone(entries)
	for i, e := range entries {
		if e.Name == name {
			entries[i].Data = []byte(change(string(e.Data)))
		}
	}
	return entries
}

func TestHostileArchivesAreInvalid(t *testing.T) {
	t.Parallel()
	oci, docker := archivetest.OCI(t, image(t, "x", "one")), archivetest.Docker(t, image(t, "x", "one"))
	dir := archivetest.DockerDir(t, image(t, "x"))
	with := func(entries []archivetest.Entry, more ...archivetest.Entry) []archivetest.Entry {
		return append(slices.Clone(more), entries...)
	}
	blob := func() string { return oci[len(oci)-3].Name }()
	without := func(entries []archivetest.Entry, name string) []archivetest.Entry {
		return slices.DeleteFunc(slices.Clone(entries), func(e archivetest.Entry) bool { return e.Name == name })
	}
	dockerManifest := func(text string) []archivetest.Entry {
		return replace(docker, "manifest.json", func(string) string { return text })
	}
	for name, entries := range map[string][]archivetest.Entry{
		"CVE-2025-11395": with(oci,
			archivetest.Entry{Name: "s", Type: tar.TypeSymlink, Link: "."},
			archivetest.Entry{Name: "s/s/s/up", Type: tar.TypeSymlink, Link: "../../.."},
			archivetest.Entry{Name: "up/victim", Data: []byte("pwned")}),
		"parent name":               with(oci, archivetest.Entry{Name: "../x"}),
		"parent name inside":        with(oci, archivetest.Entry{Name: "a/../../x"}),
		"parent name alone":         with(oci, archivetest.Entry{Name: "..", Type: tar.TypeDir}),
		"absolute name":             with(oci, archivetest.Entry{Name: "/x"}),
		"hard link":                 with(oci, archivetest.Entry{Name: "x", Type: tar.TypeLink, Link: "/etc/shadow"}),
		"symbolic link":             with(oci, archivetest.Entry{Name: "x", Type: tar.TypeSymlink, Link: "/dev/zero"}),
		"FIFO as index":             with(without(oci, "index.json"), archivetest.Entry{Name: "index.json", Type: tar.TypeFifo}),
		"device as index":           with(without(oci, "index.json"), archivetest.Entry{Name: "index.json", Type: tar.TypeChar}),
		"block device":              with(oci, archivetest.Entry{Name: "x", Type: tar.TypeBlock}),
		"link as index":             with(without(oci, "index.json"), archivetest.Entry{Name: "index.json", Type: tar.TypeSymlink, Link: "oci-layout"}),
		"link as layout":            with(without(oci, "oci-layout"), archivetest.Entry{Name: "oci-layout", Type: tar.TypeSymlink, Link: "/dev/zero"}),
		"link as blob":              with(without(oci, blob), archivetest.Entry{Name: blob, Type: tar.TypeSymlink, Link: "/etc/passwd"}),
		"index twice":               with(oci, archivetest.Entry{Name: "index.json", Data: []byte("{}")}),
		"index twice by its folder": with(oci, archivetest.Entry{Name: "./index.json", Data: []byte("{}")}),
		"manifest twice":            with(docker, archivetest.Entry{Name: "manifest.json", Data: []byte("[]")}),
		"missing blob":              without(oci, blob),
		"missing layer":             without(docker, docker[0].Name),
		"digest that leads out":     replace(oci, "index.json", func(s string) string { return strings.ReplaceAll(s, "sha256:", "../../x:") }),
		"digest with a path":        replace(oci, "index.json", func(s string) string { return strings.ReplaceAll(s, "sha256:", "sha256:../") }),
		"short digest":              replace(oci, "index.json", func(s string) string { return strings.ReplaceAll(s, "sha256:", "sha256:a") }),
		"no version":                replace(oci, "oci-layout", func(string) string { return "{}" }),
		"no JSON":                   replace(oci, "index.json", func(string) string { return "\x00" }),
		"no image":                  replace(oci, "index.json", func(string) string { return `{"schemaVersion":2}` }),
		"no image in docker":        dockerManifest("[]"),
		"config that leads out":     dockerManifest(`[{"Config":"../../etc/passwd","Layers":[]}]`),
		"absolute config":           dockerManifest(`[{"Config":"/etc/passwd","Layers":[]}]`),
		"absolute layer":            dockerManifest(`[{"Config":"` + docker[2].Name + `","Layers":["/etc/shadow","/etc/shadow"]}]`),
		"no config":                 dockerManifest(`[{}]`),
		"fewer layers":              dockerManifest(`[{"Config":"` + docker[2].Name + `","Layers":["` + docker[0].Name + `"]}]`),
		"layer link that leads out": with(without(docker, docker[0].Name), archivetest.Entry{Name: docker[0].Name, Type: tar.TypeSymlink, Link: "../../etc/passwd"}),
		"absolute layer link":       with(without(docker, docker[0].Name), archivetest.Entry{Name: docker[0].Name, Type: tar.TypeSymlink, Link: "/etc/passwd"}),
		"layer link to itself":      with(without(docker, docker[0].Name), archivetest.Entry{Name: docker[0].Name, Type: tar.TypeSymlink, Link: docker[0].Name}),
		"old docker":                {{Name: "repositories", Data: []byte("{}")}},
		"unknown":                   {{Name: "file", Data: []byte("text")}},
		"empty tar":                 {},
		"bad tag":                   replace(docker, "manifest.json", func(s string) string { return strings.ReplaceAll(s, `"one"`, `"O N\u001b[2JE"`) }),
		"tag with a digest": replace(docker, "manifest.json", func(s string) string {
			return strings.ReplaceAll(s, `"one"`, `"one@sha256:`+strings.Repeat("a", 64)+`"`)
		}),
		"bad name":                replace(oci, "index.json", func(s string) string { return strings.ReplaceAll(s, `"one"`, `"../one"`) }),
		"list and image at once":  replace(dir, "manifest.json", func(s string) string { return strings.Replace(s, "{", `{"manifests":[],`, 1) }),
		"damaged config":          replace(dir, dir[2].Name, func(s string) string { return strings.Replace(s, "a test", "A TEST", 1) }),
		"damaged manifest":        replace(oci, oci[0].Name, func(s string) string { return s + " " }),
		"layer of another length": replace(dir, dir[3].Name, func(s string) string { return s + "x" }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			if _, err := open(t, archivetest.Tar(t, entries...), o); !isInvalid(err) {
				t.Errorf("error is %v", err)
			}
			left, err := os.ReadDir(o.TmpDir)
			if err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

func TestHostileFoldersAreInvalid(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(dir, index string) error{
		"FIFO": func(_, index string) error { return unix.Mkfifo(index, 0o600) },
		"link": func(_, index string) error { return os.Symlink("/dev/zero", index) },
		"link inside": func(dir, index string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "i"), []byte("{}"), 0o600), os.Symlink("i", index))
		},
		"folder": func(_, index string) error { return os.Mkdir(index, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := archivetest.WriteDir(t, archivetest.OCI(t, image(t, "x")))
			index := filepath.Join(dir, "index.json")
			if err := errors.Join(os.Remove(index), harm(dir, index)); err != nil {
				t.Fatal(err)
			}
			if _, err := archives.OpenPath(t.Context(), dir, options(t)); !isInvalid(err) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// An archive that is cut off is refused, or all that it holds is right.
func TestTruncatedEverywhere(t *testing.T) {
	t.Parallel()
	img := image(t, "x", "one")
	for kind, entries := range map[string][]archivetest.Entry{"docker": archivetest.Docker(t, img), "oci": archivetest.OCI(t, img), "dir": archivetest.DockerDir(t, img)} {
		data := archivetest.Tar(t, entries...)
		for cut := 0; cut < len(data); cut += 256 {
			a, err := open(t, data[:cut], options(t))
			if err != nil && !isInvalid(err) {
				t.Errorf("%s, cut at %d: %v", kind, cut, err)
			}
			if err != nil {
				continue
			}
			for _, img := range a.Images() {
				if err := read(img); err != nil && !isInvalid(err) {
					t.Errorf("%s, cut at %d: %v", kind, cut, err)
				}
			}
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	img := image(t, "x", "one", "two")
	many := strings.Repeat(`{"Config":"c","Layers":[]},`, 10_000) + "{}"
	big := slices.Concat(archivetest.OCI(t, img), []archivetest.Entry{{Name: "big", Data: make([]byte, 1<<20)}})
	for _, c := range []struct {
		limit  string
		data   []byte
		limits archives.Limits
		whole  bool // found only when the image is read
	}{
		{archives.LimitEntries, archivetest.Tar(t, archivetest.OCI(t, img)...), archives.Limits{Entries: 3}, false},
		{archives.LimitImages, archivetest.Tar(t, archivetest.Entry{Name: "manifest.json", Data: []byte("[" + many + "]")}), archives.Limits{}, false},
		{archives.LimitImages, archivetest.Tar(t, archivetest.OCI(t, img)...), archives.Limits{Images: 1}, false},
		{archives.LimitNames, archivetest.Tar(t, archivetest.Docker(t, img)...), archives.Limits{Names: 1}, false},
		{archives.LimitLayers, archivetest.Tar(t, archivetest.Docker(t, img)...), archives.Limits{Layers: 1}, false},
		{archives.LimitLayers, archivetest.Tar(t, archivetest.OCI(t, img)...), archives.Limits{Layers: 1}, false},
		{archives.LimitDocumentBytes, archivetest.Tar(t, archivetest.OCI(t, img)...), archives.Limits{DocumentBytes: 100}, false},
		{archives.LimitDocumentBytes, archivetest.Tar(t, archivetest.Entry{Name: "manifest.json", Data: make([]byte, 4<<20+1)}), archives.Limits{}, false},
		{archives.LimitBytes, archivetest.Tar(t, big...), archives.Limits{Bytes: 1 << 20}, false},
		{archives.LimitBytes, archivetest.Compress(t, "gzip", archivetest.Tar(t, big...)), archives.Limits{Bytes: 1 << 20}, false},
		{archives.LimitLayerBytes, archivetest.Tar(t, archivetest.OCI(t, img)...), archives.Limits{LayerBytes: 1 << 10}, true},
		{archives.LimitLayerEntries, archivetest.Tar(t, archivetest.Docker(t, img)...), archives.Limits{LayerEntries: 1}, true},
	} {
		o := options(t)
		o.Limits = c.limits
		a, err := open(t, c.data, o)
		if c.whole && err == nil {
			err = read(a.Images()[0])
		}
		if got, ok := errors.AsType[*errdefs.LimitExceeded](err); !ok || got.Limit != c.limit {
			t.Errorf("want %s, got %v", c.limit, err)
		}
	}
}

// zeros is a layer with a file of this many zeros, compressed.
func zeros(t testing.TB, compression string, n int) []byte {
	return archivetest.Compress(t, compression, archivetest.Tar(t, archivetest.Entry{Name: "z", Data: make([]byte, n)}))
}

func TestBombsStop(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Limits.LayerBytes, o.Limits.Bytes = 8<<20, 8<<20
	bomb := archivetest.Image{Layers: [][]byte{archivetest.Tar(t, archivetest.Entry{Name: "z", Data: make([]byte, 16<<20)})}}
	for _, compression := range []string{"gzip", "zstd"} {
		bomb.Compression = compression
		a, err := open(t, archivetest.Tar(t, archivetest.OCI(t, bomb)...), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := read(a.Images()[0]); errdefs.Name(err) != "LimitExceeded" {
			t.Errorf("oci layer of %s: %v", compression, err)
		}
		if _, err := open(t, archivetest.Tar(t, archivetest.Docker(t, bomb)...), o); errdefs.Name(err) != "LimitExceeded" {
			t.Errorf("docker layer of %s: %v", compression, err)
		}
		for way, in := range map[string]*os.File{"file": archivetest.WriteFile(t, zeros(t, compression, 16<<20)), "pipe": archivetest.Pipe(t, zeros(t, compression, 16<<20))} {
			if _, err := archives.Open(t.Context(), in, o); errdefs.Name(err) != "LimitExceeded" {
				t.Errorf("archive of %s from a %s: %v", compression, way, err)
			}
		}
	}
}

// A sparse file is as long as it says, however short the layer is.
func TestSparseBombStops(t *testing.T) {
	t.Parallel()
	layer := sparse(t)
	if _, err := archives.Check(t.Context(), bytes.NewReader(layer), archives.Limits{}); errdefs.Name(err) != "LimitExceeded" {
		t.Errorf("error is %v", err)
	}
}

// sparse makes a layer with a file that is one hole of 2^50 bytes.
func sparse(t testing.TB) []byte {
	t.Helper()
	records := ""
	for _, r := range []string{"GNU.sparse.numblocks=1", "GNU.sparse.map=1125899906842624,0", "GNU.sparse.size=1125899906842624"} {
		n := len(r) + 4
		if n >= 100 {
			t.Fatal("record too long")
		}
		records += fmt.Sprintf("%d %s\n", n, r)
	}
	entry := archivetest.Tar(t, archivetest.Entry{Name: "s"})
	pax := archivetest.Tar(t, archivetest.Entry{Name: "PaxHeaders/s", Data: []byte(records)})
	pax = pax[:1024] // without the end mark
	pax[156] = 'x'
	copy(pax[148:156], fmt.Sprintf("%06o\x00 ", checksum(pax[:512])))
	return append(pax, entry...)
}

func checksum(block []byte) int {
	sum := 0
	for i, b := range block {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int(b)
	}
	return sum
}

func TestCancel(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := archives.Open(ctx, r, options(t))
		done <- err
	}()
	cancel()
	if err := <-done; errdefs.Name(err) != "Cancelled" {
		t.Errorf("error is %v", err)
	}
}

func TestRootFS(t *testing.T) {
	t.Parallel()
	data := archivetest.Tar(t, archivetest.Entry{Name: "bin/"}, archivetest.Entry{Name: "bin/sh", Data: make([]byte, 512)})
	for _, compression := range archivetest.Compressions {
		a, err := archives.OpenRootFS(t.Context(), archivetest.Pipe(t, archivetest.Compress(t, compression, data)), options(t), archives.RootFSOptions{Created: archivetest.Epoch})
		if err != nil {
			t.Fatalf("%s: %v", compression, err)
		}
		if err := errors.Join(read(a.Images()[0]), a.Close()); err != nil {
			t.Errorf("%s: %v", compression, err)
		}
	}
	o := options(t)
	// The last byte that counts is in the first block of the end mark.
	for cut := 0; cut < len(data)-512; cut++ {
		if _, err := archives.OpenRootFS(t.Context(), bytes.NewReader(data[:cut]), o, archives.RootFSOptions{}); !isInvalid(err) {
			t.Fatalf("cut at %d of %d: %v", cut, len(data), err)
		}
	}
	for _, junk := range [][]byte{[]byte("junk"), bytes.Repeat([]byte("junk"), 1000), archivetest.Compress(t, "gzip", archivetest.Compress(t, "gzip", data))} {
		if _, err := archives.OpenRootFS(t.Context(), archivetest.Pipe(t, junk), options(t), archives.RootFSOptions{}); !isInvalid(err) {
			t.Errorf("junk: %v", err)
		}
	}
}
