package engine

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// cancelled makes the error of an operation whose context has ended.
func cancelled(ctx context.Context) error {
	return &errdefs.Cancelled{Err: context.Cause(ctx)}
}

// localError turns an error of a local operation into one of errdefs. What is one already stays as it is.
func (e *Engine) localError(what string, err error) error {
	if err == nil || errdefs.Known(err) {
		return err
	}
	err = subject(what, err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &errdefs.Cancelled{Err: err}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &errdefs.StorageFull{Path: e.fullPath(err), Reason: err.Error(), Err: err}
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EDEADLK), errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EBUSY):
		return &errdefs.StoreBusy{Reason: err.Error(), Err: err}
	}
	return &errdefs.Failed{Err: err}
}

// fullPath tells which file system is full: that of the path in the error, else the store's.
func (e *Engine) fullPath(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok && pe.Path != "" {
		return pe.Path
	}
	if e.store != nil {
		return e.store.GraphRoot()
	}
	return ""
}
