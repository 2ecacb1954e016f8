package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/imaged-project/imaged/engine/owned"
)

// tempPrefix begins the names of our private folders for big temporary files. Everything of this user's that is called
// so is removed at start: it must be a name that nobody else would think of.
const tempPrefix = "imaged-private-temporary-"

// tempDir is a private folder that goes when the engine goes; if that was killed, when the next one comes.
type tempDir struct {
	path string

	mu  sync.Mutex // guards dir
	dir *owned.Dir // nil: it could not be made yet
}

// newTempDir makes a private folder in base and removes those that nobody uses any more. On a disk that is full or
// read-only the folder is made when it is wanted: what needs none works until then.
func newTempDir(base string, log logrus.FieldLogger) (*tempDir, error) {
	t := &tempDir{path: owned.Name(base, tempPrefix)}
	err := os.MkdirAll(base, 0o700)
	if err == nil {
		err = errors.Join(sweepTempDirs(base), t.make())
	}
	switch {
	case err == nil:
		return t, nil
	case diskRefuses(err):
		log.Warnf("temporary files: %v; only what needs none will work until that is better", err)
		return t, nil
	}
	return nil, errors.Join(subject("temporary files", err), t.close())
}

// make makes the folder if it is not there yet.
func (t *tempDir) make() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dir == nil {
		t.dir, err = owned.Make(t.path)
	}
	return err
}

func (t *tempDir) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dir == nil {
		return nil
	}
	return t.dir.Remove()
}

// note remembers something outside that is to go with the folder, if it was not forgotten before: what lies beside a
// caller's path until it is whole. Its name begins with targetPrefix. On a full disk it is not remembered.
func (t *tempDir) note(path string) error {
	err := t.make()
	if err == nil {
		err = os.Symlink(path, filepath.Join(t.path, filepath.Base(path)))
	}
	if diskRefuses(err) {
		return nil
	}
	return err
}

func (t *tempDir) forget(path string) error {
	err := os.Remove(filepath.Join(t.path, filepath.Base(path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func sweepTempDirs(base string) error {
	stale, err := owned.Abandoned(base, tempPrefix)
	errs := []error{err}
	for _, dir := range stale {
		sweepNoted(dir.Path)
		errs = append(errs, dir.Remove())
	}
	return errors.Join(errs...)
}

// sweepNoted removes what was noted in a folder. What cannot be removed, as on a disk that is read-only now, stays: that is
// no reason not to start.
func sweepNoted(dir string) {
	notes, _ := filepath.Glob(filepath.Join(dir, targetPrefix+"*")) // the pattern is a good one
	for _, note := range notes {
		if path, err := os.Readlink(note); err == nil && filepath.Base(path) == filepath.Base(note) {
			_ = os.RemoveAll(path)
		}
	}
}
