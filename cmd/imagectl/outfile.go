package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// outFile is a file that comes to its name only when it is whole. What had the name before stays until then.
type outFile struct {
	*os.File
	path string
	temp string // empty: written in place, as to a device
}

// newOutFile opens a file for writing beside the place it is for. A link leads to its target, and something that is no
// regular file, a device or a pipe, is written to as it is.
func newOutFile(path string) (*outFile, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	stat, err := os.Stat(path)
	if err == nil && !stat.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		return &outFile{File: f, path: path}, outputError(path, err)
	}
	mode := fs.FileMode(0o666)
	if err == nil { // who may not read what is there may not read what comes there
		mode = stat.Mode().Perm()
	}
	temp := tempBeside(path)
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	return &outFile{File: f, path: path, temp: temp}, outputError(path, err)
}

// tempBeside is a name for what becomes path: in the same folder, so that it can be renamed.
func tempBeside(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:8])
}

// finish closes the file. One whose writing failed goes; else it gets its name, once it is on the disk.
func (o *outFile) finish(err error) error {
	if err == nil && o.temp != "" {
		err = outputError(o.path, o.Sync())
	}
	if closeErr := o.Close(); err == nil {
		err = outputError(o.path, closeErr)
	}
	if o.temp == "" {
		return err
	}
	if err == nil {
		err = outputError(o.path, os.Rename(o.temp, o.path))
	}
	if err != nil {
		// What failed says more than that its remains could not be removed.
		_ = os.Remove(o.temp)
	}
	return err
}

func outputError(path string, err error) error {
	if err == nil {
		return nil
	}
	f := &failure{code: exitFailed, what: "output " + path, why: cause(err), next: "name a place that you may write to", err: err}
	if errors.Is(err, fs.ErrPermission) {
		f.code = exitAccess
	}
	return f
}

func inputError(path string, err error) error {
	f := &failure{code: exitFailed, what: "input " + path, why: cause(err), next: "name a file that you may read", err: err}
	switch {
	case errors.Is(err, fs.ErrPermission):
		f.code = exitAccess
	case errors.Is(err, fs.ErrNotExist):
		f.code = exitNotFound
	}
	return f
}

// cause leaves the path out of an error about one: it has been told.
func cause(err error) string {
	if about, ok := errors.AsType[*fs.PathError](err); ok {
		return about.Err.Error()
	}
	if about, ok := errors.AsType[*os.LinkError](err); ok {
		return about.Err.Error()
	}
	return err.Error()
}
