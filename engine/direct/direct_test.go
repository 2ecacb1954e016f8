package direct_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/direct"
	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/stores"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// meter counts what it is told.
type meter struct {
	mu       sync.Mutex // guards all below
	prepared int
	read     map[string]int64
	failed   map[string]error
}

func newMeter() *meter { return &meter{read: map[string]int64{}, failed: map[string]error{}} }

func (m *meter) Prepare(string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prepared++
}

func (m *meter) Start(d string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read[d] = 0
}

func (m *meter) Read(d string, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read[d] += n
}

func (m *meter) Fail(d string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed[d] = err
}

// entry is one entry of a tar.
type entry struct {
	tar.Header
	data string
}

func file(name, data string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: enginetest.Epoch}, data}
}

func dir(name string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755, ModTime: enginetest.Epoch}, ""}
}

func link(kind byte, name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o777, ModTime: enginetest.Epoch}, ""}
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		e.Size = int64(len(e.data))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	buf.WriteString(strings.Repeat("\x00", 1024)) // padding that a tar may have, and that must come back
	return buf.Bytes()
}

// open opens the source of an image.
func open(t testing.TB, store storage.Store, id string, m direct.Meter) types.ImageSource {
	t.Helper()
	ref, err := direct.Image(store, id, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	source, err := ref.NewImageSource(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	return source
}

// read reads a layer to its end.
func read(ctx context.Context, source types.ImageSource, d digest.Digest) ([]byte, error) {
	body, _, err := source.GetBlob(ctx, types.BlobInfo{Digest: d, Size: -1}, nil)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	return data, errors.Join(err, body.Close())
}

func TestLayersComeBackByteForByte(t *testing.T) {
	t.Parallel()
	t.Run("overlay", func(t *testing.T) {
		t.Parallel()
		testLayersComeBack(t, enginetest.OpenStore(t, enginetest.NewDirs(t)))
	})
	t.Run("vfs", func(t *testing.T) {
		t.Parallel()
		dirs := enginetest.NewDirs(t)
		store, err := stores.Open(storage.StoreOptions{GraphRoot: dirs.Root, RunRoot: dirs.RunRoot, GraphDriverName: "vfs"})
		if err != nil {
			t.Fatal(err)
		}
		testLayersComeBack(t, store)
		if err := stores.Close(store, true); err != nil {
			t.Error(err)
		}
	})
}

func TestBigLayersTakeTurns(t *testing.T) {
	t.Parallel()
	store := enginetest.OpenStore(t, enginetest.NewDirs(t))
	id := enginetest.AddImage(t, store, enginetest.Image{Tars: [][]byte{pack(t, file("a", "1")), pack(t, file("b", "2"))}})
	ref, err := direct.Image(store, id, newMeter(), semaphore.NewWeighted(1))
	if err != nil {
		t.Fatal(err)
	}
	source, err := ref.NewImageSource(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = source.Close() }()
	infos, err := source.LayerInfosForCopy(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	first, _, err := source.GetBlob(t.Context(), types.BlobInfo{Digest: infos[0].Digest, Size: -1}, nil) // it may be big
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("nobody waits any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := read(ctx, source, infos[1].Digest); !errors.Is(err, why) {
		t.Errorf("a second big layer: %v", err)
	}
	small, _, err := source.GetBlob(t.Context(), types.BlobInfo{Digest: infos[1].Digest, Size: infos[1].Size}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(small.Close(), first.Close(), first.Close()); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := read(t.Context(), source, infos[1].Digest); err != nil {
		t.Errorf("after the first one: %v", err)
	}
}

func testLayersComeBack(t *testing.T, store storage.Store) {
	big := strings.Repeat("0123456789abcdef", 1<<16)
	layers := [][]byte{
		pack(t, dir("d"), file("d/small", "x"), file("d/big", big), file("empty", ""), link(tar.TypeLink, "hard", "d/big"),
			link(tar.TypeSymlink, "soft", "d/small"), file(strings.Repeat("long/", 40)+"name", "y")),
		pack(t, file("d/.wh.small", ""), file("other", "z"), link(tar.TypeSymlink, "lib", "/usr/lib"), dir("usr"), dir("usr/lib"),
			file("lib/through", "a link that leads to the root of the layer")),
		pack(t),
	}
	id := enginetest.AddImage(t, store, enginetest.Image{Tars: layers})
	m := newMeter()
	source := open(t, store, id, m)
	infos, err := source.LayerInfosForCopy(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range layers {
		got, err := read(t.Context(), source, infos[i].Digest)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("layer %d: %d bytes, %v; want the %d bytes that it was made of", i, len(got), err, len(want))
		}
		if counted := m.read[infos[i].Digest.String()]; counted != int64(len(want)) {
			t.Errorf("layer %d: %d bytes were counted", i, counted)
		}
	}
	if m.prepared != 0 {
		t.Errorf("%d blobs took the library's way", m.prepared)
	}
	if config, err := read(t.Context(), source, digest.Digest("sha256:"+id)); err != nil || digest.FromBytes(config).Encoded() != id {
		t.Errorf("the configuration: %d bytes, %v", len(config), err)
	}
}

// A layer may have a name that leads out of it once everything is unpacked. Nobody checks that when it is unpacked,
// for that happens in a root of its own.
func TestNamesDoNotLeadOutOfTheLayer(t *testing.T) {
	t.Parallel()
	store := enginetest.OpenStore(t, enginetest.NewDirs(t))
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "key"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	entries := []entry{dir("a"), file("a/key", "public"), link(tar.TypeSymlink, "s", "."), link(tar.TypeSymlink, "s/a", host)}
	for i, r := range host { // the folder exists in the layer, too, as /etc does in most
		if r == '/' && i > 0 {
			entries = append(entries, dir(host[1:i]))
		}
	}
	data := pack(t, append(entries, dir(host[1:]))...)
	id := enginetest.AddImage(t, store, enginetest.Image{Tars: [][]byte{data}})
	img, err := store.Image(id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(store.GraphRoot(), "overlay", img.TopLayer, "diff/a/key")); string(got) != "secret" {
		t.Fatalf("the trap is not set: %q, %v", got, err)
	}
	m := newMeter()
	got, err := read(t.Context(), open(t, store, id, m), digest.FromBytes(data))
	if err == nil || bytes.Contains(got, []byte("secret")) {
		t.Errorf("read %d bytes of a layer that leads to the host, %v", len(got), err)
	}
	if len(m.failed) != 1 {
		t.Errorf("the meter was told of %d failures", len(m.failed))
	}
}

func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	tests := map[string]func(path string) error{
		"changed": func(path string) error { return os.WriteFile(path, []byte("CONTENT"), 0o644) },
		"shorter": func(path string) error { return os.Truncate(path, 3) },
		"gone":    os.Remove,
		"a FIFO":  func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) },
		"a link":  func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/etc/hostname", path)) },
		"a device": func(path string) error {
			return errors.Join(os.Remove(path), unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))))
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := enginetest.OpenStore(t, enginetest.NewDirs(t))
			data := pack(t, file("file", "content"))
			id := enginetest.AddImage(t, store, enginetest.Image{Tars: [][]byte{data}})
			img, err := store.Image(id)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(filepath.Join(store.GraphRoot(), "overlay", img.TopLayer, "diff/file")); err != nil {
				t.Fatal(err)
			}
			got, err := read(t.Context(), open(t, store, id, newMeter()), digest.FromBytes(data))
			if err == nil || bytes.Equal(got, data) {
				t.Errorf("read %d bytes without an error", len(got))
			}
		})
	}
}

func TestLibrarysWayWhereNoHeadersWereKept(t *testing.T) {
	t.Parallel()
	store := enginetest.OpenStore(t, enginetest.NewDirs(t))
	data := pack(t, file("file", "content"))
	id := enginetest.AddImage(t, store, enginetest.Image{Tars: [][]byte{data}})
	kept, err := filepath.Glob(filepath.Join(store.GraphRoot(), "overlay-layers", "*.tar-split.gz"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("headers: %q, %v", kept, err)
	}
	if err := os.Remove(kept[0]); err != nil {
		t.Fatal(err)
	}
	m := newMeter()
	got, err := read(t.Context(), open(t, store, id, m), digest.FromBytes(data))
	if err != nil || !bytes.Contains(got, []byte("content")) || m.prepared != 1 {
		t.Errorf("read %d bytes, %v; %d blobs took the library's way", len(got), err, m.prepared)
	}
}

func TestReadingEndsWithItsContextAndWithClose(t *testing.T) {
	t.Parallel()
	store := enginetest.OpenStore(t, enginetest.NewDirs(t))
	data := pack(t, file("file", strings.Repeat("content ", 1<<20)))
	id := enginetest.AddImage(t, store, enginetest.Image{Tars: [][]byte{data}})
	source := open(t, store, id, newMeter())
	ctx, cancel := context.WithCancelCause(t.Context())
	body, _, err := source.GetBlob(ctx, types.BlobInfo{Digest: digest.FromBytes(data), Size: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	cancel(enough)
	if _, err := io.Copy(io.Discard, body); !errors.Is(err, enough) {
		t.Errorf("reading on after the context's end: %v", err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	body, _, err = source.GetBlob(t.Context(), types.BlobInfo{Digest: digest.FromBytes(data), Size: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Errorf("closing before reading: %v", err)
	}
}
