package layout

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// errSize is a blob that has another length than was said before.
var errSize = errors.New("the blob is shorter than it was said to be")

// Files is where the files of a layout go. It is used by one goroutine at a time.
type Files interface {
	// Put writes a file of so many bytes. Its parents are made.
	Put(name string, size int64, content io.Reader) error
	// PutLater writes a file into a folder (empty: the topmost one). Its name there is asked for when all of its content
	// has been read. An empty name: it is not wanted after all. It returns the length.
	PutLater(folder string, content io.Reader, name func() string) (int64, error)
	// Finish writes what comes after the last file. Nothing may be put after.
	Finish() error
	// Size is how many bytes were written: of a tar all, of a folder those in its files.
	Size() int64
}

// folder is Files in a folder.
type folder struct {
	root *os.Root
	mode os.FileMode
	size int64
}

// NewFolder returns Files in an empty folder, which stays the caller's. The files get this mode, and the folders in it
// the same with the right to search wherever there is the right to read.
func NewFolder(root *os.Root, mode os.FileMode) Files { return &folder{root: root, mode: mode} }

// Put writes a file.
func (f *folder) Put(name string, size int64, content io.Reader) error {
	n, err := f.write(name, content)
	if err == nil && n != size {
		err = fmt.Errorf("%s, %d of %d bytes: %w", name, n, size, errSize)
	}
	return err
}

// PutLater writes a file under another name first.
func (f *folder) PutLater(folder string, content io.Reader, name func() string) (int64, error) {
	const unnamed = ".incomplete"
	n, err := f.write(unnamed, content)
	if err != nil {
		return n, err
	}
	final := name()
	if final == "" {
		f.size -= n
		return n, f.root.Remove(unnamed)
	}
	final = path.Join(folder, final)
	if err := f.makeParent(final); err != nil {
		return n, err
	}
	return n, f.root.Rename(unnamed, final)
}

func (f *folder) write(name string, content io.Reader) (int64, error) {
	if err := f.makeParent(name); err != nil {
		return 0, err
	}
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(file, content)
	f.size += n
	if err == nil {
		err = file.Chmod(f.mode)
	}
	return n, errors.Join(err, file.Close())
}

func (f *folder) makeParent(name string) error {
	parent := path.Dir(name)
	if parent == "." {
		return nil
	}
	if err := f.root.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	for ; parent != "."; parent = path.Dir(parent) {
		if err := f.root.Chmod(parent, FolderMode(f.mode)); err != nil {
			return err
		}
	}
	return nil
}

// Finish does nothing.
func (f *folder) Finish() error { return nil }

// Size counts what is in the files.
func (f *folder) Size() int64 { return f.size }

// FolderMode returns the mode of a folder whose files have this mode.
func FolderMode(mode os.FileMode) os.FileMode { return mode | mode&0o444>>2 | 0o100 }
