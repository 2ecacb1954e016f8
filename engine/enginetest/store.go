package enginetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/storage"

	"github.com/imaged-project/imaged/engine/stores"
)

// Dirs are the folders of an engine under test.
type Dirs struct {
	// Root is the store's folder.
	Root string
	// RunRoot is the store's folder for what need not survive.
	RunRoot string
	// Config stands in for /etc/containers. It is empty: built-in defaults apply until the test puts files there.
	Config string
	// Tmp is for big temporary files.
	Tmp string
}

// Driver is the storage driver of stores under test.
const Driver = "overlay"

// NewDirs makes folders for one engine. The test is skipped where a store with its real driver needs more rights than
// it has. Whoever opens a store there closes it before the test ends.
func NewDirs(t testing.TB) Dirs {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a store with the overlay driver needs root")
	}
	dir := t.TempDir()
	d := Dirs{
		Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"),
		Config: filepath.Join(dir, "etc"), Tmp: filepath.Join(dir, "tmp"),
	}
	for _, path := range []string{d.Root, d.RunRoot, d.Config, d.Tmp} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// Store returns the store that is open on the folders, the same that an engine there uses.
func Store(t testing.TB, d Dirs) storage.Store {
	t.Helper()
	store, err := stores.Open(storage.StoreOptions{GraphRoot: d.Root, RunRoot: d.RunRoot, GraphDriverName: Driver})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// OpenStore opens a store of the test's own, without an engine, and closes it when the test ends.
func OpenStore(t testing.TB, d Dirs) storage.Store {
	t.Helper()
	store := Store(t, d)
	t.Cleanup(func() {
		if err := stores.Close(store, true); err != nil {
			t.Error(err)
		}
	})
	return store
}
