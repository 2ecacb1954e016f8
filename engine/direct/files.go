package direct

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// errNotRegular is a name that stands for a file with content in the tar and for something else on disk.
var errNotRegular = errors.New("it is no regular file")

// folders are the places where the files of one layer lie, looked through in order.
type folders []*os.File

// openFolders opens the folders that a driver unpacked a layer into.
func openFolders(paths []string) (folders, error) {
	var all folders
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(&os.PathError{Op: "open", Path: path, Err: err}, all.close())
		}
		all = append(all, os.NewFile(uintptr(fd), path))
	}
	return all, nil
}

func (f folders) close() error {
	var errs []error
	for _, dir := range f {
		errs = append(errs, dir.Close())
	}
	return errors.Join(errs...)
}

// open opens a regular file for reading.
func (f folders) open(name string) (*os.File, error) {
	var first error
	for _, dir := range f {
		file, err := openIn(dir, name)
		if err == nil {
			return file, nil
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return nil, first
}

// openIn opens a file as if the folder were the root. It looks before it opens: opening a device or a FIFO may have
// effects, or never end.
func openIn(dir *os.File, name string) (*os.File, error) {
	fail := func(err error) (*os.File, error) {
		return nil, &os.PathError{Op: "open", Path: dir.Name() + "/" + name, Err: err}
	}
	how := &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	place, err := unix.Openat2(int(dir.Fd()), name, how)
	for tries := 0; errors.Is(err, unix.EAGAIN) && tries < 100; tries++ { // something was renamed anywhere meanwhile
		place, err = unix.Openat2(int(dir.Fd()), name, how)
	}
	if err != nil {
		return fail(err)
	}
	defer unix.Close(place) //nolint:errcheck // only a place, nothing was written
	var st unix.Stat_t
	if err := unix.Fstat(place, &st); err != nil {
		return fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fail(errNotRegular)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", place), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// confined tells whether the kernel can look names up the way openIn does it.
func confined() bool {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}
