package errdefs

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// ImageNotFound says that no image of the store has the name.
type ImageNotFound struct {
	// Name is the name as it was given.
	Name string
	// Reason says more than that there is none, for example which platform was missing. Optional.
	Reason string
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *ImageNotFound) Error() string {
	reason := e.Reason
	if reason == "" {
		reason = "no image of the store has this name"
	}
	return fmt.Sprintf("image %s: %s; list the images to see what there is, or pull it", strconv.Quote(e.Name), reason)
}

// Unwrap returns the cause.
func (e *ImageNotFound) Unwrap() error { return e.Err }

// AmbiguousName says that a short id or name means several images.
type AmbiguousName struct {
	// Name is the name as it was given.
	Name string
	// Candidates are the ids or references it could mean, sorted; never empty.
	Candidates []string
}

// Error implements error.
func (e *AmbiguousName) Error() string {
	return fmt.Sprintf("image %s: the name means %d images: %s; give a longer id or a full reference",
		strconv.Quote(e.Name), len(e.Candidates), list(e.Candidates))
}

// InvalidReference says that a text is no valid reference.
type InvalidReference struct {
	// Reference is the text.
	Reference string
	// Reason says what is wrong with it.
	Reason string
	// Next says what to do. Empty: how such a reference is written.
	Next string
	// Err is the parser's error, if any.
	Err error
}

// Error implements error.
func (e *InvalidReference) Error() string {
	return fmt.Sprintf("reference %s: %s; %s", strconv.Quote(e.Reference), e.Reason, cmp.Or(e.Next, e.form()))
}

// form tells how such a reference is written.
func (e *InvalidReference) form() string {
	switch transport, _, _ := strings.Cut(e.Reference, ":"); transport {
	case "docker-archive", "oci-archive", "oci", "dir":
		return "write it as " + transport + ":/path, absolute, and see what is there"
	}
	return "write it as [registry/]repository[:tag] or [registry/]repository@digest"
}

// Unwrap returns the cause.
func (e *InvalidReference) Unwrap() error { return e.Err }

// InvalidFormat says that a format is not known, or not possible for what was asked.
type InvalidFormat struct {
	// Format is the format as it was given.
	Format string
	// Reason says why not. Empty: it is not known.
	Reason string
	// Supported are those that would do; never empty.
	Supported []string
}

// Error implements error.
func (e *InvalidFormat) Error() string {
	reason := cmp.Or(e.Reason, "there is no such format")
	return fmt.Sprintf("format %s: %s; use %s", strconv.Quote(e.Format), reason, strings.Join(e.Supported, " or "))
}

// ImageInUse says that an image cannot be removed because something else still needs it: containers, or, where a
// bare id was given, its other names.
type ImageInUse struct {
	// Name is the name as it was given.
	Name string
	// Containers are the ids of the containers made from the image. Empty if it is the names that hold it.
	Containers []string
	// Names are the references that hold the image if no container does.
	Names []string
}

// Error implements error.
func (e *ImageInUse) Error() string {
	if len(e.Containers) == 0 {
		return fmt.Sprintf("image %s: it has several names: %s; remove it by name, or use force to take all of them away",
			strconv.Quote(e.Name), list(e.Names))
	}
	return fmt.Sprintf("image %s: in use by %d container(s): %s; remove them first, or use force to remove them with the image",
		strconv.Quote(e.Name), len(e.Containers), list(e.Containers))
}

// ReadOnlyImage says that the image lies in a store that cannot be written, such as an additional one.
type ReadOnlyImage struct {
	// Name is the name as it was given.
	Name string
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *ReadOnlyImage) Error() string {
	reason := "it lies in an additional, read-only store"
	if e.Err != nil {
		reason = e.Err.Error()
	}
	return fmt.Sprintf("image %s: it cannot be changed: %s; change it where its store is writable", strconv.Quote(e.Name), reason)
}

// Unwrap returns the cause.
func (e *ReadOnlyImage) Unwrap() error { return e.Err }

// StorageFull says that a file system has no space, no quota or no inodes left.
type StorageFull struct {
	// Path is a path on that file system: its mount point or the store's folder on it.
	Path string
	// Reason is the system's words.
	Reason string
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *StorageFull) Error() string {
	return fmt.Sprintf("file system of %s: %s; remove images that are not needed, or free space and inodes there", e.Path, e.Reason)
}

// Unwrap returns the cause.
func (e *StorageFull) Unwrap() error { return e.Err }

// StoreBusy says that another program holds a lock of the store.
type StoreBusy struct {
	// Reason says what holds it, as far as it is known.
	Reason string
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *StoreBusy) Error() string {
	return fmt.Sprintf("store: locked by another program: %s; try again when that has ended", e.Reason)
}

// Unwrap returns the cause.
func (e *StoreBusy) Unwrap() error { return e.Err }

// Cancelled says that an operation was cancelled or that the daemon is going down.
type Cancelled struct {
	// Job is the id of the job that ran it; empty if none did.
	Job string
	// Err is the cause, if any: usually context.Canceled or the context's cause.
	Err error
}

// Error implements error.
func (e *Cancelled) Error() string {
	subject := "operation"
	if e.Job != "" {
		subject = "job " + e.Job
	}
	reason := "cancelled"
	if e.Err != nil {
		reason = "cancelled: " + e.Err.Error()
	}
	return fmt.Sprintf("%s: %s; start it again if it is still wanted", subject, reason)
}

// Unwrap returns the cause.
func (e *Cancelled) Unwrap() error { return e.Err }

// LimitExceeded says that a limit of the daemon was met.
type LimitExceeded struct {
	// Limit is the limit's name.
	Limit string
	// Value is its value, in the limit's own unit.
	Value int64
}

// Error implements error.
func (e *LimitExceeded) Error() string {
	return fmt.Sprintf("limit %s: %d is the most this daemon takes; ask for less, or raise the limit", e.Limit, e.Value)
}

// JobNotFound says that there is no such job, no more, or not for this caller.
type JobNotFound struct {
	// Job is the id as it was given.
	Job string
}

// Error implements error.
func (e *JobNotFound) Error() string {
	return fmt.Sprintf("job %s: there is no such job of yours, or it ended too long ago; list the jobs to see what there is",
		strconv.Quote(e.Job))
}

// InvalidParameter says that a call's parameter has a value that makes no sense.
type InvalidParameter struct {
	// Parameter is the parameter's name as the interface file spells it.
	Parameter string
	// Reason says what is wrong with its value.
	Reason string
}

// Error implements error.
func (e *InvalidParameter) Error() string {
	return fmt.Sprintf("parameter %s: %s; the interface's description says what it takes", e.Parameter, e.Reason)
}

// PermissionDenied says that the caller may not do this.
type PermissionDenied struct {
	// Reason says why not.
	Reason string
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *PermissionDenied) Error() string {
	return fmt.Sprintf("permission denied: %s; ask as a user who may", e.Reason)
}

// Unwrap returns the cause.
func (e *PermissionDenied) Unwrap() error { return e.Err }

// Failed is the last resort for what no other type fits.
type Failed struct {
	// Reason is the cause in the system's own words; empty: Err's text.
	Reason string
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *Failed) Error() string {
	return e.Cause() + "; the daemon's log may say more"
}

// Cause returns Reason, or Err's text where that is empty.
func (e *Failed) Cause() string {
	switch {
	case e.Reason != "":
		return e.Reason
	case e.Err != nil:
		return e.Err.Error()
	}
	return "unknown cause"
}

// Unwrap returns the cause.
func (e *Failed) Unwrap() error { return e.Err }

// shown is how many items of a list a message spells out.
const shown = 5

func list(items []string) string {
	if len(items) <= shown {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:shown], ", "), len(items)-shown)
}
