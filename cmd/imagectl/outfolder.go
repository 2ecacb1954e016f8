package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// entriesLimit bounds the files of a folder that travels as a tar.
const entriesLimit = 100_000

// outFolder is a folder that comes to its name only when it is whole.
type outFolder struct {
	root *os.Root
	path string
	temp string
}

// newOutFolder makes a folder beside the place it is for, where there must be none, or an empty one.
func newOutFolder(path string) (*outFolder, error) {
	entries, err := os.ReadDir(path)
	switch {
	case len(entries) > 0:
		return nil, &failure{
			code: exitFailed, what: "output " + path, why: "the folder is not empty",
			next: "name one that is not there yet", err: fs.ErrExist,
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, outputError(path, err)
	}
	o := &outFolder{path: path, temp: tempBeside(strings.TrimRight(path, "/"))}
	if err := os.Mkdir(o.temp, 0o777); err != nil {
		return nil, outputError(path, err)
	}
	if o.root, err = os.OpenRoot(o.temp); err != nil {
		return nil, errors.Join(outputError(path, err), os.Remove(o.temp))
	}
	return o, nil
}

// finish closes the folder. One whose writing failed goes; else it gets its name.
func (o *outFolder) finish(err error) error {
	closeQuietly(o.root)
	if err == nil {
		// os.Rename would not replace a folder, not even an empty one.
		err = outputError(o.path, unix.Rename(o.temp, o.path))
	}
	if err != nil {
		// What failed says more than that its remains could not be removed.
		_ = os.RemoveAll(o.temp)
	}
	return err
}

// unpack writes the files of a tar into a folder, and nowhere else. It takes files and folders alone: others are in no
// image's layout. It reads on to the end of the stream, as who writes it may not have finished with the tar's.
func unpack(r io.Reader, root *os.Root) error {
	archive := tar.NewReader(r)
	for range entriesLimit {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err == nil {
			err = unpackEntry(root, header, archive)
		}
		if err != nil {
			return fmt.Errorf("unpacking: %w", err)
		}
	}
	return fmt.Errorf("unpacking: more than %d files", entriesLimit)
}

func unpackEntry(root *os.Root, header *tar.Header, content io.Reader) error {
	// os.Root refuses what leads outside; a name that means no more than the folder itself needs nothing.
	name := path.Clean(header.Name)
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o777)
	case tar.TypeReg:
	default:
		return fmt.Errorf("%s: neither a file nor a folder", header.Name)
	}
	if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// pack writes the files of a folder as a tar.
func pack(w io.Writer, folder string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return inputError(folder, err)
	}
	defer closeQuietly(root)
	archive := tar.NewWriter(w)
	if err := archive.AddFS(root.FS()); err != nil {
		return inputError(folder, err)
	}
	return archive.Close()
}
