package engine

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/layout"
)

// unnamedFile makes a file in a folder without giving it a name there.
const unnamedFile = unix.O_TMPFILE

// targetPrefix begins the names of what is not finished yet, where it must have a name.
const targetPrefix = ".imaged-save-"

// target is a file or a folder that appears at its path when it is whole, never over something else. Until then only
// the daemon's user can read it, and it goes if the work fails. A file that is written through its descriptor has no name
// until then, so that not even a kill leaves something behind; what is written by its name, and a file on a file system
// that wants one, has one that begins with a dot, and is removed by the next daemon if this one was killed.
type target struct {
	path string
	mode os.FileMode // of files, in the end
	file *os.File    // nil: a folder
	root *os.Root    // nil: a file
	temp string      // its path until it is whole; empty: none
	tmp  *tempDir    // remembers temp
}

// newTarget begins what is to be at a path, at which there must be nothing.
func newTarget(path string, tmp *tempDir) (*target, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, occupied()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	mask, err := umask()
	return &target{path: filepath.Clean(path), mode: 0o666 &^ mask, tmp: tmp}, err
}

// openTarget makes what is to be at a path.
func openTarget(path string, folder bool, tmp *tempDir) (*output, error) {
	t, err := newTarget(path, tmp)
	if err != nil {
		return nil, err
	}
	if folder {
		return &output{name: path, target: t}, t.makeFolder()
	}
	if err := t.makeFile(); err != nil {
		return nil, err
	}
	return &output{name: path, target: t, w: t.file, regular: t.file}, nil
}

func occupied() error {
	return &errdefs.InvalidParameter{Parameter: "path", Reason: "there is something at this path already"}
}

func (t *target) makeFile() (err error) {
	t.file, err = os.OpenFile(filepath.Dir(t.path), os.O_RDWR|unnamedFile, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return t.makeNamedFile()
	}
	return err
}

// makeNamedFile makes a file that can be opened as t.temp.
func (t *target) makeNamedFile() (err error) {
	return t.makeTemp(func(path string) (err error) {
		t.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
}

func (t *target) makeFolder() (err error) {
	err = t.makeTemp(func(path string) error { return os.Mkdir(path, 0o700) })
	if err != nil {
		return err
	}
	if t.root, err = os.OpenRoot(t.temp); err != nil {
		return errors.Join(err, os.Remove(t.temp), t.tmp.forget(t.temp))
	}
	return nil
}

// makeTemp makes something beside the target that the next daemon will know, should this one be killed.
func (t *target) makeTemp(make func(path string) error) error {
	path := filepath.Join(filepath.Dir(t.path), targetPrefix+rand.Text())
	if err := t.tmp.note(path); err != nil {
		return err
	}
	if err := make(path); err != nil {
		return errors.Join(err, t.tmp.forget(path))
	}
	t.temp = path
	return nil
}

// commit writes all to the disk and gives it its name.
func (t *target) commit() error {
	if err := t.settle(); err != nil {
		return err
	}
	var err error
	if t.temp != "" {
		err = unix.Renameat2(unix.AT_FDCWD, t.temp, unix.AT_FDCWD, t.path, unix.RENAME_NOREPLACE)
		if _, there := os.Lstat(t.path); errors.Is(err, unix.EINVAL) && errors.Is(there, fs.ErrNotExist) {
			err = os.Rename(t.temp, t.path) // the file system, such as NFS, can do no better
		}
	} else {
		err = unix.Linkat(unix.AT_FDCWD, descriptorPath(t.file.Fd()), unix.AT_FDCWD, t.path, unix.AT_SYMLINK_FOLLOW)
	}
	if errors.Is(err, fs.ErrExist) {
		return occupied()
	}
	if err != nil {
		return &os.LinkError{Op: "link", Old: t.temp, New: t.path, Err: err}
	}
	err = t.forget()
	t.temp = ""
	return errors.Join(err, syncFolder(filepath.Dir(t.path)))
}

// settle gives what was written its mode and writes it to the disk.
func (t *target) settle() error {
	if t.file != nil {
		return errors.Join(t.file.Chmod(t.mode), t.file.Sync())
	}
	dir, err := os.Open(t.temp)
	if err != nil {
		return err
	}
	return errors.Join(dir.Chmod(layout.FolderMode(t.mode)), unix.Syncfs(int(dir.Fd())), dir.Close())
}

// close closes it, and removes it if it was not committed.
func (t *target) close() error {
	var errs []error
	if t.file != nil {
		errs = append(errs, t.file.Close())
	}
	if t.root != nil {
		errs = append(errs, t.root.Close())
	}
	if t.temp != "" {
		errs = append(errs, os.RemoveAll(t.temp), t.forget())
	}
	return errors.Join(errs...)
}

func (t *target) forget() error {
	if t.temp == "" {
		return nil
	}
	return t.tmp.forget(t.temp)
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// umask returns the bits that new files do not get. Asking the system call means setting it, for all threads.
func umask() (os.FileMode, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "Umask:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(text), 8, 9)
			return os.FileMode(mask), err
		}
	}
	return 0, errors.Join(fmt.Errorf("%s: it has no umask", f.Name()), lines.Err())
}
