package staging

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"
)

// lockName is the file by which the library's driver shows that a folder is in use.
const lockName = "staging.lock"

// Sweep removes what killed processes left unpacked beside a store. What a living one works on stays; so the caller
// has nothing staged in this store yet.
func Sweep(store storage.Store) error {
	root := store.GraphRoot()
	if apart := store.ImageStore(); apart != "" {
		root = apart
	}
	base := filepath.Join(root, store.GraphDriverName(), "staging")
	entries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := sweep(filepath.Join(base, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes one folder if its owner is dead. One without a lock may just be coming into being.
func sweep(folder string) error {
	lock, err := os.OpenFile(filepath.Join(folder, lockName), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // nothing was written
	if err := unix.FcntlFlock(lock.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		return nil // in use
	}
	return os.RemoveAll(folder)
}
