package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	ociarchive "github.com/containers/image/v5/oci/archive"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/types"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// finishing ends the writing to a destination, well if it is given nil. It returns the error that it was given, or its
// own.
type finishing func(error) error

// create makes the destination, and a reference to it.
func (c *copier) create() (types.ImageReference, finishing, error) {
	switch c.to.transport {
	case transportRegistry:
		ref, err := docker.NewReference(c.to.named)
		return ref, func(err error) error { return err }, err
	case transportOCI, transportDir:
		return c.createFolder()
	}
	return c.createFile()
}

// createFile makes an empty file, for nobody else's eyes until it is complete.
func (c *copier) createFile() (types.ImageReference, finishing, error) {
	path := c.to.path
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, c.destinationError(err)
	}
	finish := func(err error) error {
		if err == nil {
			err = c.e.localError("write "+clean(path), errors.Join(f.Chmod(0o644), f.Sync(), syncDir(filepath.Dir(path))))
		}
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
		return errors.Join(err, f.Close())
	}
	var ref types.ImageReference
	if c.to.transport == transportDockerArchive {
		ref, err = dockerarchive.ParseReference(withItem(path, c.to.item))
	} else {
		ref, err = ociarchive.NewReference(path, c.to.item)
	}
	if err != nil {
		return nil, nil, finish(c.invalidDestination(err))
	}
	return ref, finish, nil
}

func withItem(path, item string) string {
	if item == "" {
		return path
	}
	return path + ":" + item
}

// createFolder makes the folder. That of an OCI layout may be there.
func (c *copier) createFolder() (types.ImageReference, finishing, error) {
	path := c.to.path
	err := os.Mkdir(path, 0o755)
	made := err == nil
	if err != nil && (c.to.transport != transportOCI || !errors.Is(err, fs.ErrExist)) {
		return nil, nil, c.destinationError(err)
	}
	finish := func(err error) error {
		if err == nil {
			err = c.e.localError("write "+clean(path), syncFS(path))
		}
		if err != nil && made {
			err = errors.Join(err, os.RemoveAll(path))
		}
		return err
	}
	var ref types.ImageReference
	if c.to.transport == transportDir {
		ref, err = directory.NewReference(path)
	} else {
		ref, err = ocilayout.NewReference(path, c.to.item)
	}
	if err != nil {
		return nil, nil, finish(c.invalidDestination(err))
	}
	return ref, finish, nil
}

func (c *copier) invalidDestination(err error) error {
	return &errdefs.InvalidReference{Reference: clean(c.to.text), Reason: clean(err.Error()), Err: quiet{err}}
}

// destinationError is an error of making the destination. One that is there already is the caller's affair.
func (c *copier) destinationError(err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return &errdefs.InvalidReference{Reference: clean(c.to.text), Reason: "there is something at this path already, which is not overwritten"}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return &errdefs.InvalidReference{Reference: clean(c.to.text), Reason: clean(err.Error())}
	}
	return c.e.localError("write "+clean(c.to.path), err)
}

// syncDir brings a folder's entries to the disk.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// syncFS brings all of a folder's file system to the disk.
func syncFS(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return errors.Join(fmt.Errorf("syncfs %s: %w", path, err), d.Close())
	}
	return d.Close()
}
