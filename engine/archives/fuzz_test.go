package archives_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/archives/archivetest"
	"github.com/imaged-project/imaged/engine/archives/tarindex"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// FuzzOpen opens and reads whatever comes. Nothing may be left behind, and every error says what it is.
func FuzzOpen(f *testing.F) {
	img := image(f, "x", "one")
	for _, entries := range [][]archivetest.Entry{
		archivetest.Docker(f, img), archivetest.OCI(f, img), archivetest.DockerDir(f, img), archivetest.OCIList(f, "l", img),
	} {
		data := archivetest.Tar(f, entries...)
		f.Add(data)
		f.Add(archivetest.Compress(f, "gzip", data))
		f.Add(archivetest.Compress(f, "zstd", data))
	}
	dir := f.TempDir()
	limits := archives.Limits{Bytes: 1 << 22, Entries: 1000, LayerBytes: 1 << 22, LayerEntries: 1000}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := archives.Open(t.Context(), bytes.NewReader(data), archives.Options{TmpDir: dir, Limits: limits})
		if err != nil {
			wantTyped(t, err)
			return
		}
		for _, img := range a.Images() {
			if err := read(img); err != nil && !errdefs.Known(err) && err.Error()[:4] != "blob" {
				t.Errorf("reading: %v", err)
			}
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

// FuzzIndex indexes whatever comes. What it says lies in the archive does lie there.
func FuzzIndex(f *testing.F) {
	f.Add(archivetest.Tar(f, archivetest.OCI(f, image(f, "x", "one"))...))
	f.Add(sparse(f))
	f.Add(archivetest.Tar(f, archivetest.Entry{Name: "s", Type: '2', Link: "../x"}, archivetest.Entry{Name: "d/"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := tarindex.Read(t.Context(), bytes.NewReader(data), int64(len(data)), 1000)
		if err != nil {
			wantTyped(t, err)
			return
		}
		for _, name := range x.Names() {
			section, err := x.Open(name)
			if err != nil {
				wantTyped(t, err)
				continue
			}
			_, offset, n := section.Outer()
			if offset < 0 || n < 0 || offset+n > int64(len(data)) {
				t.Errorf("%q lies at %d, %d bytes, of %d", name, offset, n, len(data))
			}
		}
	})
}

func wantTyped(t testing.TB, err error) {
	t.Helper()
	_, invalid := errors.AsType[*errdefs.InvalidArchive](err)
	_, limit := errors.AsType[*errdefs.LimitExceeded](err)
	if !invalid && !limit {
		t.Errorf("error is %v", err)
	}
}
