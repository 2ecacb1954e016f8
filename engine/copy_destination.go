package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

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

// createFile makes an empty file, which gets its name when it is complete.
func (c *copier) createFile() (types.ImageReference, finishing, error) {
	t, err := newTarget(c.to.path, c.e.tmp)
	if err == nil {
		err = t.makeNamedFile()
	}
	if err != nil {
		return nil, nil, c.destinationError(err)
	}
	var ref types.ImageReference
	if c.to.transport == transportDockerArchive {
		ref, err = dockerarchive.ParseReference(withItem(t.temp, c.to.item))
	} else {
		ref, err = ociarchive.NewReference(t.temp, c.to.item)
	}
	return c.finishAt(t, ref, err)
}

// finishAt returns what is to be done with a target at last; at once if there is no reference to it.
func (c *copier) finishAt(t *target, ref types.ImageReference, err error) (types.ImageReference, finishing, error) {
	finish := func(err error) error {
		if err == nil {
			err = t.commit()
			if err != nil {
				err = c.destinationError(err)
			}
		}
		return errors.Join(err, t.close())
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

// createFolder makes the folder, as createFile does a file. That of an OCI layout may be there.
func (c *copier) createFolder() (types.ImageReference, finishing, error) {
	if c.to.transport == transportOCI {
		if info, err := os.Stat(c.to.path); err == nil && info.IsDir() {
			return c.addToLayout()
		}
	}
	t, err := newTarget(c.to.path, c.e.tmp)
	if err == nil {
		err = t.makeFolder()
	}
	if err != nil {
		return nil, nil, c.destinationError(err)
	}
	var ref types.ImageReference
	if c.to.transport == transportDir {
		ref, err = directory.NewReference(t.temp)
	} else {
		ref, err = ocilayout.NewReference(t.temp, c.to.item)
	}
	return c.finishAt(t, ref, err)
}

// addToLayout writes into an OCI layout that is there.
func (c *copier) addToLayout() (types.ImageReference, finishing, error) {
	ref, err := ocilayout.NewReference(c.to.path, c.to.item)
	if err != nil {
		return nil, nil, c.invalidDestination(err)
	}
	return ref, func(err error) error {
		if err == nil {
			err = c.e.localError("write "+clean(c.to.path), syncFS(c.to.path))
		}
		return err
	}, nil
}

func (c *copier) invalidDestination(err error) error {
	return &errdefs.InvalidReference{Reference: clean(c.to.text), Reason: clean(err.Error()), Err: quiet{err}}
}

// destinationError is an error of making the destination. One that is there already is the caller's affair.
func (c *copier) destinationError(err error) error {
	occupied, _ := errors.AsType[*errdefs.InvalidParameter](err)
	switch {
	case occupied != nil, errors.Is(err, fs.ErrExist):
		return &errdefs.InvalidReference{Reference: clean(c.to.text), Reason: "there is something at this path already, which is not overwritten"}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return &errdefs.InvalidReference{Reference: clean(c.to.text), Reason: clean(err.Error())}
	}
	return c.e.localError("write "+clean(c.to.path), err)
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
