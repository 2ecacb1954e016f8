package engine

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watchFolders calls changed whenever a file of one of the folders is replaced, as the storage library does with its
// records, until stop is called. Folders that are not there are left out.
func watchFolders(folders []string, changed func()) (stop func(), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	for _, folder := range folders {
		_, err := unix.InotifyAddWatch(fd, folder, unix.IN_MOVED_TO|unix.IN_ONLYDIR)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, errors.Join(&os.PathError{Op: "inotify_add_watch", Path: folder, Err: err}, f.Close())
		}
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		// What was replaced does not matter, nor does it that events were lost: whoever is told looks.
		for buf := make([]byte, 16<<10); ; {
			if n, err := f.Read(buf); n <= 0 || err != nil {
				return
			}
			changed()
		}
	})
	return func() {
		_ = f.Close() // wakes the reader
		reader.Wait()
	}, nil
}
