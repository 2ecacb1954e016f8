package staging

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// tarOf makes a layer of empty files.
func tarOf(t testing.TB, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Format: tar.FormatPAX}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// scan feeds a layer in pieces, and returns what was counted.
func scan(data []byte, piece int, l Limits) (*account, error) {
	a := &account{Budget: NewBudget(l, nil)}
	s := newScanner(a)
	defer s.stop()
	for len(data) > 0 {
		n := min(piece, len(data))
		if err := errors.Join(a.bytes(int64(n)), s.feed(data[:n])); err != nil {
			return a, err
		}
		data = data[n:]
	}
	return a, s.end()
}

func TestScannerCountsFoldersThatAreNotNamed(t *testing.T) {
	t.Parallel()
	for want, names := range map[int64][]string{
		1: {"a"},
		2: {"a/b"},
		4: {"a", "a/b", "a/c", "d"},
		6: {"a/b/c", "a/b/d", "a/e/f"},
		3: {"../a", "/b", "./c"},
	} {
		if a, err := scan(tarOf(t, names...), 512, Limits{}); err != nil || a.entries != want {
			t.Errorf("%v: %d, %v, want %d", names, a.entries, err, want)
		}
	}
}

func TestCheckTellsBeforeTheEnd(t *testing.T) {
	t.Parallel()
	layer := tarOf(t, "a", "b", "c")
	for name, c := range map[string]struct {
		body io.Reader
		l    Limits
		room func() error
		want string
	}{
		"good":           {bytes.NewReader(layer), Limits{}, nil, ""},
		"nothing":        {strings.NewReader(""), Limits{}, nil, ""},
		"byte by byte":   {iotest.OneByteReader(bytes.NewReader(layer)), Limits{}, nil, ""},
		"too long":       {bytes.NewReader(layer), Limits{LayerBytes: 1024}, nil, "LimitExceeded"},
		"too many":       {bytes.NewReader(layer), Limits{LayerEntries: 2}, nil, "LimitExceeded"},
		"image too long": {bytes.NewReader(layer), Limits{ImageBytes: 1024}, nil, "LimitExceeded"},
		"cut off":        {bytes.NewReader(layer[:700]), Limits{}, nil, "InvalidArchive"},
		"full disk":      {io.LimitReader(zeros{}, 3<<20), Limits{}, func() error { return &errdefs.StorageFull{} }, "StorageFull"},
		"no tar":         {strings.NewReader(strings.Repeat("x", 2000)), Limits{}, nil, "InvalidArchive"},
		"broken reader":  {iotest.TimeoutReader(iotest.HalfReader(bytes.NewReader(layer))), Limits{}, nil, "Failed"},
	} {
		r := Check(t.Context(), io.NopCloser(c.body), NewBudget(c.l, c.room))
		_, err := io.Copy(io.Discard, r)
		if got := errdefs.Name(err); err != nil && got != c.want || err == nil && c.want != "" {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// FuzzScanner feeds anything in pieces: they change nothing, and nothing hangs or gets past the limits.
func FuzzScanner(f *testing.F) {
	f.Add(tarOf(f, "a", "a/b", strings.Repeat("long", 100)), uint16(1))
	f.Add([]byte{}, uint16(7))
	f.Fuzz(func(t *testing.T, data []byte, piece uint16) {
		l := Limits{LayerBytes: 1 << 20, LayerEntries: 100}
		whole, err := scan(data, len(data)+1, l)
		pieces, err2 := scan(data, int(piece)+1, l)
		if err != nil && err2 != nil {
			return // one of them may have counted on
		}
		if (err == nil) != (err2 == nil) || whole.entries != pieces.entries || whole.files != pieces.files {
			t.Errorf("at once %+v, %v; in pieces %+v, %v", whole, err, pieces, err2)
		}
		if pieces.entries > l.LayerEntries || pieces.files > l.LayerBytes || pieces.stream > l.LayerBytes {
			t.Errorf("past the limits: %+v", pieces)
		}
	})
}
