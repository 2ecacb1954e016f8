package index_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/storage/pkg/lockfile"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/index"
)

// TestReadingKeepsLocks reads while this process holds the locks of a store: a process loses a lock of this kind when it
// closes the file anywhere.
func TestReadingKeepsLocks(t *testing.T) {
	t.Parallel()
	store := enginetest.OpenStore(t, enginetest.NewDirs(t))
	enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"a"}})
	x, err := index.New(store)
	if err != nil {
		t.Fatal(err)
	}
	snapshot(t, x)
	for _, kind := range []string{"images", "layers", "containers"} {
		path := filepath.Join(store.GraphRoot(), store.GraphDriverName()+"-"+kind, kind+".lock")
		lock, err := lockfile.GetLockFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lock.Lock()
		snapshot(t, x)
		if _, err := x.CountLayers(); err != nil {
			t.Error(err)
		}
		if !isLocked(t, path) {
			t.Errorf("%s is not locked any more", path)
		}
		lock.Unlock()
	}
}

// isLocked tells whether a process holds a lock, this one included.
func isLocked(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		t.Fatal(err)
	}
	return l.Type != unix.F_UNLCK
}

// TestHalfAnImage reads while an image's record is there, and its data is not yet.
func TestHalfAnImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	x := index.Open([]index.Place{{Images: dir}})
	defer func() { _ = x.Close() }()
	lock, err := lockfile.GetLockFile(filepath.Join(dir, "images.lock"))
	if err != nil {
		t.Fatal(err)
	}
	lock.Lock()
	record := `[{"id":"half","names":["localhost/half:latest"],"big-data-digests":{"manifest":"sha256:` + sum("{}") + `"}}]`
	if err := os.WriteFile(filepath.Join(dir, "images.json"), []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := snapshot(t, x).Len(); n != 0 {
		t.Errorf("%d images while the first is being written", n)
	}
	lock.Unlock()
	s := snapshot(t, x)
	if img := s.ByName("localhost/half:latest"); img == nil || img.Facts.Err == nil || s.Len() != 1 {
		t.Errorf("an image that nobody will complete: %+v", img)
	}
	if s != snapshot(t, x) {
		t.Error("a store that did not change was read anew")
	}
}
