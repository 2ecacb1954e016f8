package index

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile is a file that the storage library locks before it writes records. It stays open: a process that closes
// such a file anywhere loses all its locks of it, those that the library relies on included.
type lockFile struct {
	path string
	file *os.File // nil: there was none yet
	is   inode
}

// inode tells a file from one that takes its place.
type inode struct{ device, number uint64 }

// open opens the file, if there is one and it is not open.
func (l *lockFile) open() error {
	var st unix.Stat_t
	err := unix.Stat(l.path, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l.close()
	case err != nil:
		return &os.PathError{Op: "stat", Path: l.path, Err: err}
	case l.file != nil && l.is == inodeOf(&st):
		return nil
	}
	if err := l.close(); err != nil { // the store was removed and made anew, so nobody relies on it
		return err
	}
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	l.file = f
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: l.path, Err: err}
	}
	l.is = inodeOf(&st)
	return nil
}

func inodeOf(st *unix.Stat_t) inode { return inode{uint64(st.Dev), st.Ino} } //nolint:unconvert // it is narrower elsewhere

// close closes the file.
func (l *lockFile) close() error {
	f := l.file
	if l.file = nil; f == nil {
		return nil
	}
	return f.Close()
}

// mark reads what the library writes into the file at each change; it is zero if nothing was written yet.
func (l *lockFile) mark() (mark [64]byte, err error) {
	if err := l.open(); err != nil || l.file == nil {
		return mark, err
	}
	if _, err := l.file.ReadAt(mark[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return mark, err
	}
	return mark, nil
}

// writing tells whether somebody has the lock for writing, this process included: that is why it asks as a stranger.
func (l *lockFile) writing() bool {
	if l.file == nil {
		return false
	}
	held := unix.Flock_t{Type: unix.F_RDLCK}
	err := unix.FcntlFlock(l.file.Fd(), unix.F_OFD_GETLK, &held)
	return err == nil && held.Type == unix.F_WRLCK
}
