package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tempPrefix begins the names of our private folders for big temporary files. Everything of this user's that is called
// so is removed at start: it must be a name that nobody else would think of.
const tempPrefix = "imaged-private-temporary-"

// tempDir is a private folder that goes when the engine goes. It is locked as long as its process lives, so that the
// next engine can tell a folder in use from one that a killed process left behind.
type tempDir struct {
	path string
	lock *os.File
}

// newTempDir makes a private folder in base and removes those that nobody uses any more.
func newTempDir(base string) (*tempDir, error) {
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, subject("temporary files", err)
	}
	if err := sweepTempDirs(base); err != nil {
		return nil, subject("temporary files", err)
	}
	// Another process may sweep the folder away between its making and its locking. It cannot do so for ever.
	for range 10 {
		path, err := os.MkdirTemp(base, tempPrefix)
		if err != nil {
			return nil, subject("temporary files", err)
		}
		lock, err := lockOwnDir(path)
		if err == nil {
			return &tempDir{path: path, lock: lock}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(subject("temporary files", err), os.RemoveAll(path))
		}
	}
	return nil, fmt.Errorf("temporary files: %s: another program removes what is made there", base)
}

func (t *tempDir) close() error {
	return errors.Join(os.RemoveAll(t.path), t.lock.Close())
}

func sweepTempDirs(base string) error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if ok, _ := filepath.Match(tempPrefix+"*", entry.Name()); !ok || !entry.IsDir() {
			continue
		}
		path := filepath.Join(base, entry.Name())
		lock, err := lockOwnDir(path)
		if err != nil {
			continue // in use, another user's, or gone
		}
		if err := errors.Join(os.RemoveAll(path), lock.Close()); err != nil {
			return err
		}
	}
	return nil
}

// lockOwnDir locks a folder of this user without waiting. It follows no link: base may be writable by anyone.
func lockOwnDir(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	if err := lockIfOwn(f); err != nil {
		return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	return f, nil
}

func lockIfOwn(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	switch {
	case int(st.Uid) != os.Geteuid():
		return fs.ErrPermission
	case st.Nlink == 0: // removed before it was locked
		return fs.ErrNotExist
	}
	return nil
}
