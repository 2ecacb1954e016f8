package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/containers/storage"
	drivers "github.com/containers/storage/drivers"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// lockFiles is how many files the library opens at most, one within the other, to lock a store.
const lockFiles = 8

// errLost is the error of every call once a lock is lost.
var errLost = errors.New("a lock of the store is lost; imaged has to be started again")

// use calls the library. If that cannot open the file of a lock, it panics and leaves the lock shut for ever, in a
// goroutine of its own perhaps. So this sees first whether that is possible now. If it happens all the same, the panic
// becomes an error, and the engine is lost.
func (g *guardedStore) use(do func() error) (err error) {
	if err := g.usable(); err != nil {
		return err
	}
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		g.log.Errorf("store %s: %v\n%s", g.GraphRoot(), value, debug.Stack())
		g.lose.Do(func() { close(g.lost) })
		if cause, ok := value.(error); ok {
			err = fmt.Errorf("%w: %w", errLost, cause)
		} else {
			err = errLost
		}
	}()
	return do()
}

// usable fails if the files of locks cannot be opened. It opens one as a place only (O_PATH): with any other descriptor of
// it that it closes, the process would lose the lock that the library has.
func (g *guardedStore) usable() (err error) {
	select {
	case <-g.lost:
		return errLost
	default:
	}
	path := filepath.Join(g.GraphRoot(), "storage.lock")
	if err := unix.Access(path, unix.R_OK|unix.W_OK); errors.Is(err, os.ErrNotExist) {
		return nil // the library makes it
	} else if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	lock, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	for range lockFiles {
		fd, err := unix.FcntlInt(lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open files of locks: %w", err)
		}
		defer unix.Close(fd) //nolint:errcheck // nothing was written
	}
	return nil
}

// Lost returns a channel that is closed when the engine has lost a lock of its store: no call that needs the lock will
// ever get it. The process should end, without Close, and be started anew.
func (e *Engine) Lost() <-chan struct{} { return e.guard.lost }

// get is use for a call with a result.
func get[T any](g *guardedStore, do func() (T, error)) (result T, err error) {
	err = g.use(func() (err error) {
		result, err = do()
		return err
	})
	return result, err
}

// The rest are the calls of storage.Store that take locks and that this package or the libraries make.

// GraphDriver implements storage.Store.
func (g *guardedStore) GraphDriver() (drivers.Driver, error) {
	return get(g, g.Store.GraphDriver)
}

// Image implements storage.Store.
func (g *guardedStore) Image(id string) (*storage.Image, error) {
	return get(g, func() (*storage.Image, error) { return g.Store.Image(id) })
}

// Images implements storage.Store.
func (g *guardedStore) Images() ([]storage.Image, error) {
	return get(g, g.Store.Images)
}

// ImagesByDigest implements storage.Store.
func (g *guardedStore) ImagesByDigest(d digest.Digest) ([]*storage.Image, error) {
	return get(g, func() ([]*storage.Image, error) { return g.Store.ImagesByDigest(d) })
}

// ImageBigData implements storage.Store.
func (g *guardedStore) ImageBigData(id, key string) ([]byte, error) {
	return get(g, func() ([]byte, error) { return g.Store.ImageBigData(id, key) })
}

// ImageBigDataSize implements storage.Store.
func (g *guardedStore) ImageBigDataSize(id, key string) (int64, error) {
	return get(g, func() (int64, error) { return g.Store.ImageBigDataSize(id, key) })
}

// ListImageBigData implements storage.Store.
func (g *guardedStore) ListImageBigData(id string) ([]string, error) {
	return get(g, func() ([]string, error) { return g.Store.ListImageBigData(id) })
}

// SetImageBigData implements storage.Store.
func (g *guardedStore) SetImageBigData(id, key string, data []byte, digestManifest func([]byte) (digest.Digest, error)) error {
	return g.use(func() error { return g.Store.SetImageBigData(id, key, data, digestManifest) })
}

// SetMetadata implements storage.Store.
func (g *guardedStore) SetMetadata(id, metadata string) error {
	return g.use(func() error { return g.Store.SetMetadata(id, metadata) })
}

// AddNames implements storage.Store.
func (g *guardedStore) AddNames(id string, names []string) error {
	err := g.use(func() error { return g.Store.AddNames(id, names) })
	if err == nil {
		g.settle(id)
	}
	return err
}

// RemoveNames implements storage.Store.
func (g *guardedStore) RemoveNames(id string, names []string) error {
	return g.use(func() error { return g.Store.RemoveNames(id, names) })
}

// Layer implements storage.Store.
func (g *guardedStore) Layer(id string) (*storage.Layer, error) {
	return get(g, func() (*storage.Layer, error) { return g.Store.Layer(id) })
}

// LayersByCompressedDigest implements storage.Store.
func (g *guardedStore) LayersByCompressedDigest(d digest.Digest) ([]storage.Layer, error) {
	return get(g, func() ([]storage.Layer, error) { return g.Store.LayersByCompressedDigest(d) })
}

// LayersByUncompressedDigest implements storage.Store.
func (g *guardedStore) LayersByUncompressedDigest(d digest.Digest) ([]storage.Layer, error) {
	return get(g, func() ([]storage.Layer, error) { return g.Store.LayersByUncompressedDigest(d) })
}

// LayersByTOCDigest implements storage.Store.
func (g *guardedStore) LayersByTOCDigest(d digest.Digest) ([]storage.Layer, error) {
	return get(g, func() ([]storage.Layer, error) { return g.Store.LayersByTOCDigest(d) })
}

// Diff implements storage.Store.
func (g *guardedStore) Diff(from, to string, options *storage.DiffOptions) (io.ReadCloser, error) {
	return get(g, func() (io.ReadCloser, error) { return g.Store.Diff(from, to, options) })
}

// Exists implements storage.Store. What cannot be looked for is not there.
func (g *guardedStore) Exists(id string) (found bool) {
	_ = g.use(func() error {
		found = g.Store.Exists(id)
		return nil
	})
	return found
}

// Container implements storage.Store.
func (g *guardedStore) Container(id string) (*storage.Container, error) {
	return get(g, func() (*storage.Container, error) { return g.Store.Container(id) })
}

// DeleteContainer implements storage.Store.
func (g *guardedStore) DeleteContainer(id string) error {
	return g.use(func() error { return g.Store.DeleteContainer(id) })
}

// Mounted implements storage.Store.
func (g *guardedStore) Mounted(id string) (int, error) {
	return get(g, func() (int, error) { return g.Store.Mounted(id) })
}

// CleanupStagedLayer implements storage.Store.
func (g *guardedStore) CleanupStagedLayer(out *drivers.DriverWithDifferOutput) error {
	return g.use(func() error { return g.Store.CleanupStagedLayer(out) })
}
