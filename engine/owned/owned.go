// Package owned makes folders that belong to one living process. Such a folder is locked for as long as its process
// lives, whatever ends it; so others can tell a folder in use from one that was left behind.
//
// Only package engine and what is below it may import it.
package owned

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is a folder that this process has locked.
type Dir struct {
	// Path is where it lies.
	Path string

	lock *os.File
}

// Name returns a name for a folder in base that nobody else has, beginning with prefix.
func Name(base, prefix string) string {
	return filepath.Join(base, prefix+strings.ToLower(rand.Text()))
}

// Make makes a folder at a path that [Name] gave; what it is to lie in must be there.
func Make(path string) (*Dir, error) {
	// Another process may sweep the folder away between its making and its locking. It cannot do so for ever.
	for range 10 {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		lock, err := lockOwn(path)
		if err == nil {
			return &Dir{Path: path, lock: lock}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, os.RemoveAll(path))
		}
	}
	return nil, fmt.Errorf("%s: another program removes what is made there", filepath.Dir(path))
}

// Abandoned returns the folders in base with such a name that are this user's and that no living process has locked.
// They are locked now; the caller removes or releases each. A base that is not there has none.
func Abandoned(base, prefix string) ([]*Dir, error) {
	entries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []*Dir
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), prefix) || !entry.IsDir() {
			continue
		}
		path := filepath.Join(base, entry.Name())
		lock, err := lockOwn(path)
		if err != nil {
			continue // in use, another user's, or gone
		}
		found = append(found, &Dir{Path: path, lock: lock})
	}
	return found, nil
}

// Remove removes the folder with all that is in it.
func (d *Dir) Remove() error { return errors.Join(os.RemoveAll(d.Path), d.lock.Close()) }

// Release lets the folder be, for whoever comes next.
func (d *Dir) Release() error { return d.lock.Close() }

// lockOwn locks a folder of this user without waiting. It follows no link: base may be writable by anyone.
func lockOwn(path string) (*os.File, error) {
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
