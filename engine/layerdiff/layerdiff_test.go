package layerdiff_test

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
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
	"go.uber.org/goleak"

	"github.com/imaged-project/imaged/engine/layerdiff"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 1 << 20

var epoch = time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)

// entry is an entry of a layer.
type entry struct {
	tar.Header
	data string
}

func file(name, data string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: epoch}, data}
}

func dir(name string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755, ModTime: epoch}, ""}
}

func link(kind byte, name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o777, ModTime: epoch}, ""}
}

// with changes an entry's header.
func with(e entry, change func(*tar.Header)) entry {
	change(&e.Header)
	return e
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
	return buf.Bytes()
}

// split writes a tar's headers down as the storage library does.
func split(t testing.TB, data []byte) string {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	r, err := asm.NewInputTarStream(bytes.NewReader(data), storage.NewJSONPacker(gz), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	path := filepath.Join(t.TempDir(), "tar-split.gz")
	if err := errors.Join(err, gz.Close(), os.WriteFile(path, buf.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// layer is a layer of one side or both.
type layer struct {
	sides   layerdiff.Side
	entries []entry
}

func before(entries ...entry) layer { return layer{layerdiff.Before, entries} }
func after(entries ...entry) layer  { return layer{layerdiff.After, entries} }
func both(entries ...entry) layer   { return layer{layerdiff.Both, entries} }

// changes compares by each of the ways of reading, which must find the same.
func changes(t testing.TB, layers []layer) []string {
	t.Helper()
	var found [2][]string
	for i := range found {
		c := layerdiff.New(limit)
		for n, l := range layers {
			data := pack(t, l.entries...)
			var err error
			if (i+n)%2 == 0 { // both ways in one comparison, too
				err = c.ReadSplit(t.Context(), l.sides, split(t, data))
			} else {
				err = c.ReadTar(t.Context(), l.sides, bytes.NewReader(data))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for ch := range c.Changes() {
			found[i] = append(found[i], fmt.Sprintf("%s %s", ch.Kind, ch.Path))
		}
	}
	if diff := cmp.Diff(found[0], found[1]); diff != "" {
		t.Errorf("headers and tar differ:\n%s", diff)
	}
	return found[0]
}

func TestChanges(t *testing.T) {
	t.Parallel()
	mode := func(h *tar.Header) { h.Mode = 0o600 }
	later := func(h *tar.Header) { h.ModTime = epoch.Add(time.Hour) }
	tests := map[string]struct {
		layers []layer
		want   []string
	}{
		"nothing": {[]layer{both(dir("a"), file("a/b", "x")), after()}, nil},
		"an equal entry again": {
			[]layer{both(dir("a"), file("a/b", "x"), link(tar.TypeSymlink, "s", "a")), after(dir("a/"), file("./a/b", "x"), link(tar.TypeSymlink, "/s", "a"))}, nil,
		},
		"added, with new and old folders": {
			[]layer{both(dir("a")), after(file("a/x", "1"), dir("n"), file("n/x/y", "2"))},
			[]string{"changed /a", "added /a/x", "added /n", "added /n/x", "added /n/x/y"},
		},
		"changed content, of one length and time": {[]layer{both(file("f", "1")), after(file("f", "2"))}, []string{"changed /f"}},
		"changed time":                    {[]layer{both(file("f", "1")), after(with(file("f", "1"), later))}, []string{"changed /f"}},
		"a folder's time does not matter": {[]layer{both(dir("d")), after(with(dir("d"), later))}, nil},
		"a folder's mode does":            {[]layer{both(dir("d")), after(with(dir("d"), mode))}, []string{"changed /d"}},
		"a device":                        {[]layer{both(entry{tar.Header{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""}), after(entry{tar.Header{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5}, ""})}, []string{"changed /d"}},
		"an attribute": {
			[]layer{both(file("f", "")), after(with(file("f", ""), func(h *tar.Header) {
				h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "1"}
			}))}, []string{"changed /f"},
		},
		"deleted": {
			[]layer{both(dir("a"), dir("a/b"), file("a/b/c", ""), file("f", "")), after(file("a/.wh.b", ""), file(".wh.f", ""), file(".wh.never", ""))},
			[]string{"changed /a", "deleted /a/b", "deleted /f"},
		},
		"an opaque folder": {
			[]layer{both(dir("a"), file("a/old", ""), dir("a/sub"), file("a/sub/old", "")), after(dir("a"), file("a/new", ""), file("a/.wh..wh..opq", ""), file("a/sub/new", ""))},
			[]string{"changed /a", "added /a/new", "deleted /a/old", "changed /a/sub", "added /a/sub/new", "deleted /a/sub/old"},
		},
		"a whiteout is about lower layers, wherever it stands": {
			[]layer{both(file("f", "1"), file("g", "1")), after(file("f", "1"), file(".wh.f", ""), file(".wh.g", ""), file("g", "1"))}, nil,
		},
		"deleted and back again": {
			[]layer{both(dir("a"), file("a/f", "1")), after(file(".wh.a", "")), after(dir("a"), file("a/f", "1"))}, nil,
		},
		"a folder becomes a file": {
			[]layer{both(dir("a"), file("a/f", "")), after(file("a", ""))}, []string{"changed /a"},
		},
		"a file becomes a folder": {
			[]layer{both(file("a", "")), after(dir("a"), file("a/f", ""))}, []string{"changed /a", "added /a/f"},
		},
		"a file in the way of a folder": {
			[]layer{both(file("a", "")), after(file("a/f", ""))}, []string{"changed /a", "added /a/f"},
		},
		"a hard link is the file": {
			[]layer{both(file("f", "1"), link(tar.TypeLink, "l", "f")), after(file("f", "1"), file("l", "1"))}, nil,
		},
		"a link to nothing": {[]layer{after(link(tar.TypeLink, "l", ""), link(tar.TypeSymlink, "s", "nowhere"))}, []string{"added /l", "added /s"}},
		"two images": {
			[]layer{both(file("base", "")), before(file("old", ""), file("f", "1")), before(file("gone", ""), file(".wh.base", "")), after(file("f", "2"), file("new", ""))},
			[]string{"added /base", "changed /f", "deleted /gone", "added /new", "deleted /old"},
		},
		"sorted by path": {
			[]layer{after(dir("a"), file("a/b", ""), file("a-b", ""), file("a.b", ""), file("ab", ""), file("A", ""))},
			[]string{"added /A", "added /a", "added /a-b", "added /a.b", "added /a/b", "added /ab"},
		},
		"names that lead out, and the root": {
			[]layer{after(dir("./"), dir("/"), file("../../x", ""), file("a/../y", ""), file("..", ""), file(".wh..wh.plnk", ""), file(".wh..wh.plnk/1", ""))},
			[]string{"added /x", "added /y"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := changes(t, tt.layers)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if !slices.IsSortedFunc(got, cmpPath) {
				t.Errorf("not sorted: %q", got)
			}
		})
	}
}

// cmpPath compares the paths of two changes as text.
func cmpPath(a, b string) int {
	_, a, _ = strings.Cut(a, " ")
	_, b, _ = strings.Cut(b, " ")
	return strings.Compare(a, b)
}

func TestChangesEndEarly(t *testing.T) {
	t.Parallel()
	c := layerdiff.New(limit)
	data := pack(t, dir("a"), file("a/b", ""), file("c", ""))
	if err := c.ReadTar(t.Context(), layerdiff.After, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	for most := range 3 {
		n := 0
		for range c.Changes() {
			if n++; n > most {
				break
			}
		}
		if n != most+1 {
			t.Errorf("%d changes after a break at %d", n, most+1)
		}
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	var entries []entry
	for i := range 100 {
		entries = append(entries, file(fmt.Sprintf("dir%d/file", i), ""))
	}
	data := pack(t, entries...)
	for name, read := range map[string]func(*layerdiff.Comparison) error{
		"tar": func(c *layerdiff.Comparison) error {
			return c.ReadTar(t.Context(), layerdiff.Both, bytes.NewReader(data))
		},
		"split": func(c *layerdiff.Comparison) error { return c.ReadSplit(t.Context(), layerdiff.Both, split(t, data)) },
	} {
		if err := read(layerdiff.New(10_000)); !errors.Is(err, layerdiff.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		if err := read(layerdiff.New(100_000)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	data := pack(t, file("f", ""))
	c := layerdiff.New(limit)
	if err := c.ReadTar(ctx, layerdiff.After, bytes.NewReader(data)); !errors.Is(err, enough) {
		t.Errorf("tar: %v", err)
	}
	if err := c.ReadSplit(ctx, layerdiff.After, split(t, data)); !errors.Is(err, enough) {
		t.Errorf("headers: %v", err)
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	c := layerdiff.New(limit)
	if err := c.ReadSplit(t.Context(), layerdiff.After, filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	whole, err := os.ReadFile(split(t, pack(t, file("f", "content"))))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"empty": nil, "junk": []byte("junk"), "cut": whole[:len(whole)/2]} {
		path := filepath.Join(t.TempDir(), "damaged")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.ReadSplit(t.Context(), layerdiff.After, path); err == nil || errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.ReadTar(t.Context(), layerdiff.After, bytes.NewReader(bytes.Repeat([]byte("junk"), 1000))); err == nil {
		t.Error("junk is no tar")
	}
}

// FuzzReadTar looks for a layer that breaks the comparison, or in which it does not find what it told itself.
func FuzzReadTar(f *testing.F) {
	f.Add(pack(f, dir("a"), file("a/b", "x"), file(".wh.a", ""), link(tar.TypeLink, "l", "a/b")), pack(f, file("a", "")))
	f.Add(pack(f, file("a/.wh..wh..opq", "")), pack(f, file("../..", "")))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // a sparse file may be longer than anybody waits
		defer cancel()
		c := layerdiff.New(limit)
		if c.ReadTar(ctx, layerdiff.Both, bytes.NewReader(lower)) != nil || c.ReadTar(ctx, layerdiff.After, bytes.NewReader(upper)) != nil {
			return
		}
		last := ""
		for ch := range c.Changes() {
			if ch.Path <= last {
				t.Fatalf("%q after %q", ch.Path, last)
			}
			last = ch.Path
		}
	})
}
