package engine_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// sentLayer is a layer as a registry has it.
type sentLayer struct {
	data      []byte
	mediaType string
	diffID    digest.Digest
}

func gzipped(t testing.TB, plain []byte) sentLayer {
	t.Helper()
	return sentLayer{pack(t, &bytes.Buffer{}, plain), ociv1.MediaTypeImageLayerGzip, digest.FromBytes(plain)}
}

func zstded(t testing.TB, plain []byte) sentLayer {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return sentLayer{z.EncodeAll(plain, nil), ociv1.MediaTypeImageLayerZstd, digest.FromBytes(plain)}
}

func uncompressed(plain []byte) sentLayer {
	return sentLayer{plain, ociv1.MediaTypeImageLayer, digest.FromBytes(plain)}
}

// pushLayers puts an image of these layers into a registry.
func pushLayers(t testing.TB, reg *registrytest.Registry, image string, layers ...sentLayer) {
	t.Helper()
	repository, _, _ := strings.Cut(image, ":")
	config := ociv1.Image{Platform: ociv1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ociv1.RootFS{Type: "layers"}}
	m := ociv1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ociv1.MediaTypeImageManifest}
	for _, l := range layers {
		reg.PushBlob(t, repository, l.data)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		m.Layers = append(m.Layers, ociv1.Descriptor{MediaType: l.mediaType, Digest: digest.FromBytes(l.data), Size: int64(len(l.data))})
	}
	data := marshal(t, config)
	reg.PushBlob(t, repository, data)
	m.Config = ociv1.Descriptor{MediaType: ociv1.MediaTypeImageConfig, Digest: digest.FromBytes(data), Size: int64(len(data))}
	reg.PushManifest(t, image, ociv1.MediaTypeImageManifest, marshal(t, m))
}

// file is an entry of a layer, with what it holds if it is a regular file.
type file struct {
	tar.Header
	text string
}

// tarOf makes a layer. Entries without a type are regular files.
func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := f.Header
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		h.Size, h.Format = int64(len(f.text)), tar.FormatPAX
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1e9, 123456789)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// entry is a file of a layer, for tarOf.
func entry(h tar.Header, text ...string) file { return file{h, strings.Join(text, "")} }

func xattrs(pairs ...string) map[string]string {
	m := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		m["SCHILY.xattr."+pairs[i]] = pairs[i+1]
	}
	return m
}

// oddLayers are layers with all that a file system can have.
func oddLayers(t testing.TB) []sentLayer {
	t.Helper()
	const dir, link, sym, char, block, fifo = tar.TypeDir, tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo
	long := strings.Repeat("long", 50)
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	owned := strings.Replace(capability, "\x02", "\x03", 1) + "\x00\x00\x01\x00" // only for the root that has this id
	base := tarOf(
		t,
		entry(tar.Header{Name: "./", Typeflag: dir, Mode: 0o700, Uid: 7, Gid: 8}),
		entry(tar.Header{Name: "bin", Typeflag: dir, Mode: 0o755}),
		entry(tar.Header{Name: "a", Typeflag: dir, Mode: 0o755}),
		entry(tar.Header{Name: "dev", Typeflag: dir, Mode: 0o755}),
		entry(tar.Header{Name: "x", Typeflag: dir, Mode: 0o755}),
		entry(tar.Header{Name: long, Typeflag: dir, Mode: 0o755}),
		entry(tar.Header{Name: "bin/su", Mode: 0o4755}, "setuid"),
		entry(tar.Header{Name: "bin/write", Mode: 0o2755, Gid: 5}, "setgid"),
		entry(tar.Header{Name: "bin/ping3", Mode: 0o755, PAXRecords: xattrs("security.capability", owned)}, "cap"),
		entry(tar.Header{Name: "bin/ping", Mode: 0o755, PAXRecords: xattrs("security.capability", capability)}, "cap"),
		entry(tar.Header{Name: "tmp", Typeflag: dir, Mode: 0o1777}),
		entry(tar.Header{Name: "a/hard", Mode: 0o600, Uid: 1000, Gid: 1001}, "one"),
		entry(tar.Header{Name: "a/hard2", Typeflag: link, Linkname: "a/hard", Mode: 0o600, Uid: 1000, Gid: 1001}),
		entry(tar.Header{Name: "a/sym", Typeflag: sym, Linkname: "../../../etc/passwd", Mode: 0o777}),
		entry(tar.Header{Name: "dev/null", Typeflag: char, Devmajor: 1, Devminor: 3, Mode: 0o666}),
		entry(tar.Header{Name: "dev/loop", Typeflag: block, Devmajor: 7, Devminor: 0}),
		entry(tar.Header{Name: "dev/fifo", Typeflag: fifo}),
		entry(tar.Header{Name: "x/attrs", PAXRecords: xattrs("user.color", "blue", "trusted.other", "z")}, "x"),
		entry(tar.Header{Name: long + "/" + long}, "long"),
		entry(tar.Header{Name: "big", Uid: 3_000_000, ModTime: time.Unix(0, 0)}, strings.Repeat("big ", 1<<18)),
	)
	middle := tarOf(
		t,
		entry(tar.Header{Name: "/", Typeflag: dir, Mode: 0o751, Uid: 42, Gid: 43}),
		entry(tar.Header{Name: "bin", Typeflag: dir, Mode: 0o755}),
		entry(tar.Header{Name: "bin/.wh.su"}),
		entry(tar.Header{Name: "x", Typeflag: dir, Mode: 0o755}),
		entry(tar.Header{Name: "x/.wh..wh..opq"}),
		entry(tar.Header{Name: "x/new"}, "new"),
		entry(tar.Header{Name: "a", Typeflag: dir, Mode: 0o711, Uid: 9}),
	)
	same := tarOf(t, entry(tar.Header{Name: "same"}, "same"))
	trailing := slices.Concat(tarOf(t, entry(tar.Header{Name: "t"}, "t")), make([]byte, 9000), []byte("junk"))
	return []sentLayer{
		gzipped(t, base), zstded(t, middle), gzipped(t, tarOf(t)), uncompressed(same), gzipped(t, trailing),
		gzipped(t, tarOf(t)), uncompressed(same), gzipped(t, nil), uncompressed(nil),
	}
}

// made is after what any layer under test says, and before what is made for want of a layer's word.
var made = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// statOf describes a file with all that a layer can say of it.
func statOf(t testing.TB, root, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(root, path), &st); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%o %d:%d dev %x links %d", st.Mode, st.Uid, st.Gid, st.Rdev, st.Nlink)
	if st.Mtim.Sec < made.Unix() {
		text += fmt.Sprintf(" at %d.%d", st.Mtim.Sec, st.Mtim.Nsec)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		text += " " + digest.FromBytes(data).Encoded()[:8]
	case unix.S_IFLNK:
		target, err := os.Readlink(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		text += " -> " + target
	}
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(filepath.Join(root, path), names)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00")
	slices.Sort(all)
	for _, name := range all {
		value := make([]byte, 4096)
		if n, err := unix.Lgetxattr(filepath.Join(root, path), name, value); name != "" && err == nil {
			text += fmt.Sprintf(" %s=%q", name, value[:n])
		}
	}
	return text
}

// listing describes all that a store has: layers with their files and headers, and images.
func listing(t testing.TB, p puller) map[string]string {
	t.Helper()
	all := make(map[string]string)
	layers, err := p.Store().Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		all[l.ID] = fmt.Sprint(l.Parent, l.CompressedDigest, l.UncompressedDigest, l.UncompressedSize, l.UIDs, l.GIDs, l.Flags, l.Names, l.ReadOnly)
		root := filepath.Join(p.dirs.Root, "overlay", l.ID, "diff")
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			name, _ := filepath.Rel(root, path)
			all[l.ID+" "+name] = statOf(t, root, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(filepath.Join(p.dirs.Root, "overlay-layers", l.ID+".tar-split.gz"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		split, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		all[l.ID+" (headers)"] = digest.FromBytes(split).Encoded()
	}
	images, err := p.Store().Images()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		slices.Sort(i.BigDataNames)
		all["image "+i.ID] = fmt.Sprint(i.TopLayer, i.Names, i.Digests, i.BigDataNames, i.BigDataDigests, i.Metadata)
	}
	return all
}

func TestStagedLayersAreTheLibrarys(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	pushLayers(t, reg, "odd:1", oddLayers(t)...)
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Docker: true})
	pushLayers(t, reg, "bare:1", gzipped(t, tarOf(t, entry(tar.Header{Name: "without/its/parents"}, "x"))))
	staged, library := openPuller(t), openPuller(t)
	library.StageNothing()
	images := []string{"odd:1", "app:1", "bare:1"}
	for _, image := range images {
		if diff := cmp.Diff(library.mustPull(t, reg.Ref(image), quick()), staged.mustPull(t, reg.Ref(image), quick())); diff != "" {
			t.Errorf("%s (-library +staged):\n%s", image, diff)
		}
	}
	want := listing(t, library)
	if diff := cmp.Diff(want, listing(t, staged)); diff != "" {
		t.Errorf("the stores (-library +staged):\n%s", diff)
	}
	reg.ForgetRequests()
	staged.StageNothing()
	for _, image := range images {
		staged.mustPull(t, reg.Ref(image), quick())
	}
	if n := reg.Count("GET", "/blobs/"); n > len(images) { // the configurations
		t.Errorf("the library fetched %d blobs again", n)
	}
	if diff := cmp.Diff(want, listing(t, staged)); diff != "" {
		t.Errorf("the stores, pulled again (-library +staged):\n%s", diff)
	}
	// The library's check takes some of these oddities for damage, whoever unpacked them, and its mounts change a root's owner.
	if diff := cmp.Diff(damages(t, library), damages(t, staged)); diff != "" {
		t.Errorf("what the library's check says (-library +staged):\n%s", diff)
	}
}

// damages is what the library's check says of a store's layers.
func damages(t testing.TB, p puller) map[string][]string {
	t.Helper()
	report, err := p.Store().Check(storage.CheckEverything())
	if err != nil || len(report.Images) > 0 && len(report.Layers) == 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	all := make(map[string][]string)
	for id, errs := range report.Layers {
		for _, err := range errs {
			all[id] = append(all[id], times.ReplaceAllString(err.Error(), ""))
		}
	}
	return all
}

// times are those in a report that say when something was made for want of a layer's word.
var times = regexp.MustCompile(`mtime:0x[0-9a-f]+￫0x[0-9a-f]+`)

func TestStagedImagesAreReadByOthers(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("podman is missing: apt-get install podman")
	}
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{})
	p := openPuller(t)
	id := p.mustPull(t, reg.Ref("app:1"), quick()).IDs[0]
	archive := filepath.Join(t.TempDir(), "saved.tar")
	run, err := os.MkdirTemp("", "run") // podman wants a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(run)
	podman := func(args ...string) {
		args = append([]string{"--root", p.dirs.Root, "--runroot", run, "--storage-driver", enginetest.Driver, "--events-backend", "none"}, args...)
		if out, err := exec.CommandContext(t.Context(), "podman", args...).CombinedOutput(); err != nil {
			t.Fatalf("podman %v: %v\n%s", args, err, out)
		}
	}
	podman("image", "inspect", id)
	podman("save", "-q", "--format", "oci-archive", "-o", archive, id)
	reg.ForgetRequests()
	podman("pull", "-q", "--tls-verify=false", reg.Ref("app:1"))
	if n := reg.Count("GET", "/blobs/"); n > 1 { // the configuration
		t.Errorf("podman fetched %d blobs again", n)
	}
	podman("rmi", id)
	p.wantNothing(t)
}

func TestStagingReusesLayersAboveAnotherParent(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	first, second, shared := tarOf(t, entry(tar.Header{Name: "1"}, "one")), tarOf(t, entry(tar.Header{Name: "2"}, "two")), oddLayers(t)[0]
	pushLayers(t, reg, "app:1", gzipped(t, first), shared)
	pushLayers(t, reg, "app:2", gzipped(t, second), shared)
	pushLayers(t, reg, "app:3", shared, gzipped(t, first))
	blob := digest.FromBytes(shared.data).String()
	p := openPuller(t)
	for _, image := range []string{"app:1", "app:2", "app:3"} {
		p.mustPull(t, reg.Ref(image), quick())
	}
	if n := reg.Count("GET", blob); n != 1 {
		t.Errorf("the shared layer was fetched %d times", n)
	}
	checkStore(t, p)

	// One that was damaged on disk is fetched again.
	layers, err := p.Store().LayersByCompressedDigest(digest.Digest(blob))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		writeFile(t, filepath.Join(p.dirs.Root, "overlay", l.ID, "diff", "big"), "smaller")
	}
	pushLayers(t, reg, "app:4", uncompressed(tarOf(t, entry(tar.Header{Name: "4"}))), shared)
	image := p.image(t, p.mustPull(t, reg.Ref("app:4"), quick()).IDs[0])
	if n := reg.Count("GET", blob); n != 2 {
		t.Errorf("the damaged layer was fetched %d times", n)
	}
	if info, err := os.Stat(filepath.Join(p.dirs.Root, "overlay", image.TopLayer, "diff", "big")); err != nil || info.Size() != 1<<20 {
		t.Errorf("the layer was built of the damaged one: %v, %v", info, err)
	}
}

// zeros is a layer with a file of so many zeros.
func zeros(t testing.TB, size int64) sentLayer {
	t.Helper()
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	sum := digest.Canonical.Digester()
	w := tar.NewWriter(io.MultiWriter(z, sum.Hash()))
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeroReader{}, size); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return sentLayer{packed.Bytes(), ociv1.MediaTypeImageLayerGzip, sum.Digest()}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// hole is a layer with a file that is one hole of 2^50 bytes.
func hole(t testing.TB) sentLayer {
	t.Helper()
	records := ""
	for _, r := range []string{"GNU.sparse.numblocks=1", "GNU.sparse.map=1125899906842624,0", "GNU.sparse.size=1125899906842624"} {
		records += fmt.Sprintf("%d %s\n", len(r)+4, r)
	}
	pax := tarOf(t, entry(tar.Header{Name: "PaxHeaders/s"}, records))
	at := bytes.Index(pax, []byte("PaxHeaders/s\x00")) // after what makes its time exact
	pax = pax[at : at+1024]
	pax[156] = 'x'
	sum := 0
	copy(pax[148:156], "        ")
	for _, b := range pax[:512] {
		sum += int(b)
	}
	copy(pax[148:156], fmt.Sprintf("%06o\x00 ", sum))
	plain := tarOf(t, entry(tar.Header{Name: "s", ModTime: time.Unix(1e9, 0)}))
	return gzipped(t, append(slices.Clone(pax), plain...))
}

func TestUnpackedLimits(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	small := gzipped(t, tarOf(t, entry(tar.Header{Name: "small"}, strings.Repeat("s", 20<<10))))
	many := make([]file, 101)
	for i := range many {
		many[i] = entry(tar.Header{Name: fmt.Sprint(i)})
	}
	pushLayers(t, reg, "bomb:1", small, zeros(t, 1<<30))
	pushLayers(t, reg, "hole:1", small, hole(t))
	pushLayers(t, reg, "many:1", small, gzipped(t, tarOf(t, many...)))
	pushLayers(t, reg, "deep:1", small, gzipped(t, tarOf(t, entry(tar.Header{Name: strings.Repeat("d/", 101) + "f"}))))
	pushLayers(t, reg, "long:1", small, gzipped(t, tarOf(t, entry(tar.Header{Name: "other"}, strings.Repeat("o", 20<<10)))))
	for image, c := range map[string]struct {
		limit string
		set   engine.PullLimits
	}{
		"bomb:1": {engine.LimitLayerUnpackedBytes, limits(func(l *engine.PullLimits) { l.Unpacked.LayerBytes = 32 << 20 })},
		"hole:1": {engine.LimitLayerUnpackedBytes, engine.PullLimits{}},
		"many:1": {engine.LimitLayerEntries, limits(func(l *engine.PullLimits) { l.Unpacked.LayerEntries = 100 })},
		"deep:1": {engine.LimitLayerEntries, limits(func(l *engine.PullLimits) { l.Unpacked.LayerEntries = 100 })},
		"long:1": {engine.LimitImageUnpackedBytes, limits(func(l *engine.PullLimits) { l.Unpacked.ImageBytes = 32 << 10 })},
	} {
		for _, way := range []string{"staged", "library"} {
			t.Run(image+" "+way, func(t *testing.T) {
				t.Parallel()
				p := openPuller(t, func(o *engine.Options) { o.Pull = c.set })
				if way == "library" {
					p.StageNothing()
				}
				began := time.Now()
				_, err := p.pull(t, reg.Ref(image), quick())
				if e, ok := errors.AsType[*errdefs.LimitExceeded](err); !ok || e.Limit != c.limit {
					t.Errorf("%v, want %s", err, c.limit)
				}
				p.wantNothing(t)
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		}
	}
}

func limits(set func(*engine.PullLimits)) (l engine.PullLimits) {
	set(&l)
	return l
}

func TestCancelMidLayerEndsTheHelper(t *testing.T) {
	t.Parallel()
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 3, LayerSize: 4 << 20})
	reg.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Skip: 1, Fault: registrytest.Fault{Stall: stall, After: 3 << 20}})
	p := openPuller(t)
	w, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
	if err != nil {
		t.Fatal(err)
	}
	for unpackers(t, p) < 3 {
		time.Sleep(time.Millisecond)
	}
	if layers, err := p.Store().Layers(); err != nil || len(layers) > 0 { // whoever wants the layers' lock gets it
		t.Errorf("%d layers, %v", len(layers), err)
	}
	began := time.Now()
	w.Close()
	p.wantNothing(t)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s until the work had stopped", took)
	}
	if n := unpackers(t, p); n > 0 {
		t.Errorf("%d helpers still run", n)
	}
}

// unpackers counts the helpers that have a folder of the engine's store as the root of their file system.
func unpackers(t testing.TB, p puller) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range lines {
		line, _ := os.ReadFile(path) // it may be gone
		mounts, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "mountinfo"))
		if bytes.HasPrefix(line, []byte("storage-untar")) && bytes.Contains(mounts, []byte(p.dirs.Root+"/overlay/staging/")) {
			n++
		}
	}
	return n
}

func TestStagedImageHasNoLayerOfItsOwnConfiguration(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	good, liar := gzipped(t, tarOf(t, entry(tar.Header{Name: "good"}))), gzipped(t, tarOf(t, entry(tar.Header{Name: "liar"})))
	pushLayers(t, reg, "app:1", good)
	p := openPuller(t)
	p.mustPull(t, reg.Ref("app:1"), quick())
	liar.diffID = good.diffID // here, but not what this blob holds
	pushLayers(t, reg, "app:2", liar)
	pushLayers(t, reg, "app:3", gzipped(t, tarOf(t)), liar)
	for _, image := range []string{"app:2", "app:3"} {
		if _, err := p.pull(t, reg.Ref(image), quick()); errdefs.Name(err) != "InvalidArchive" {
			t.Errorf("%s: %v", image, err)
		}
	}
	p.idle(t)
	if layers, err := p.Store().Layers(); err != nil || len(layers) != 1 {
		t.Errorf("%d layers, %v", len(layers), err)
	}
}

func TestStagingLeftoversGoAtStart(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	base := filepath.Join(p.dirs.Root, "overlay", "staging")
	for _, dir := range []string{"dead", "new"} {
		if err := os.MkdirAll(filepath.Join(base, dir, "dir"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(base, "dead", "staging.lock"), "")
	if err := engine.SweepStaged(p.Store()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) != 1 || entries[0].Name() != "new" {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestStagedLayersSayNothingToOverlay pulls a layer that would have the file system overlay show one file for another.
func TestStagedLayersSayNothingToOverlay(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	marks := xattrs("trusted.overlay.opaque", "y", "trusted.overlay.redirect", "/secret", "user.overlay.redirect", "/secret", "user.kept", "y", "security.selinux", "system_u:object_r:shadow_t:s0\x00")
	link := xattrs("trusted.overlay.redirect", "/secret")
	layer := gzipped(t, tarOf(
		t,
		entry(tar.Header{Name: "dir", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: marks}),
		entry(tar.Header{Name: "./hidden/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: marks}),
		entry(tar.Header{Name: "hidden/.wh..wh..opq"}),
		entry(tar.Header{Name: "dir/file", PAXRecords: marks}, "file"),
		entry(tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "dir", PAXRecords: link}),
		entry(tar.Header{Name: "link/through", PAXRecords: marks}, "file"),
		// These are elsewhere than their entries said, once the layer is unpacked.
		entry(tar.Header{Name: "here", Typeflag: tar.TypeSymlink, Linkname: "."}),
		entry(tar.Header{Name: "swapped", Typeflag: tar.TypeSymlink, Linkname: "dir"}),
		entry(tar.Header{Name: "swapped/moved", PAXRecords: marks}, "file"),
		entry(tar.Header{Name: "here/swapped", Typeflag: tar.TypeSymlink, Linkname: "hidden"}),
		entry(tar.Header{Name: "replaced", PAXRecords: marks}, "file"),
		entry(tar.Header{Name: "kept", Typeflag: tar.TypeLink, Linkname: "replaced"}),
		entry(tar.Header{Name: "here/replaced"}, "other"),
	))
	pushLayers(t, reg, "app:1", layer)
	p := openPuller(t)
	image := p.image(t, p.mustPull(t, reg.Ref("app:1"), quick()).IDs[0])
	root := filepath.Join(p.dirs.Root, "overlay", image.TopLayer, "diff")
	for name, want := range map[string]bool{"dir": false, "hidden": true, "dir/file": false, "link": false, "dir/through": false, "dir/moved": false, "kept": false} {
		got := statOf(t, root, name)
		if name != "link" && !strings.Contains(got, "user.kept") || strings.Contains(got, "redirect") || strings.Contains(got, "selinux") ||
			strings.Contains(got, "trusted.overlay.opaque") != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestUnstagedLayersSayNothingToOverlay pulls such a layer where the library unpacks it: nobody would take anything away.
func TestUnstagedLayersSayNothingToOverlay(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	layer := gzipped(t, tarOf(t, entry(tar.Header{Name: "file", PAXRecords: xattrs("trusted.overlay.redirect", "/secret")}, "file")))
	layer.mediaType = "application/vnd.example.layer"
	pushLayers(t, reg, "app:1", layer)
	p := openPuller(t)
	if _, err := p.pull(t, reg.Ref("app:1"), quick()); errdefs.Name(err) != "InvalidArchive" {
		t.Errorf("%v", err)
	}
	p.wantNothing(t)
}
