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

// withTries puts what each endpoint's try ended with into an error that has a place for it, unless it has that already.
func withTries(err error, tries ...error) error {
	var attempts []errdefs.Attempt
	for _, try := range tries {
		attempts = append(attempts, errdefs.Attempt{Endpoint: endpointOf(try), Error: errdefs.Name(try), Reason: shortReason(try)})
	}
	switch e := err.(type) { //nolint:errorlint // it is the error itself that goes to the client
	case *errdefs.ReferenceNotFound:
		if e.Attempts == nil {
			e.Attempts = attempts
		}
	case *errdefs.RegistryUnreachable:
		if e.Attempts == nil {
			e.Attempts = attempts
		}
	}
	return err
}

// endpointOf is where a try that ended so went.
func endpointOf(err error) string {
	switch e := err.(type) { //nolint:errorlint // as above
	case *errdefs.ReferenceNotFound:
		return e.Reference
	case *errdefs.RegistryUnreachable:
		return e.Registry
	case *errdefs.AuthenticationRequired:
		return e.Registry
	case *errdefs.AccessDenied:
		return e.Registry
	case *errdefs.RateLimited:
		return e.Registry
	}
	return ""
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
