package errdefs

import "errors"

// named is what every type of this package implements, and nothing else.
type named interface {
	error
	errorName() string
}

// Name returns the bare name of err's type as the interface files spell it, such as "ImageNotFound", and "Failed"
// for an error of no type of this package. It looks through wrapping; of several the outermost counts. Name(nil) is "".
func Name(err error) string {
	if err == nil {
		return ""
	}
	if n, ok := errors.AsType[named](err); ok {
		return n.errorName()
	}
	return "Failed"
}

// Find returns the error of this package that err is or wraps, the outermost of several; nil if there is none.
func Find(err error) error {
	if n, ok := errors.AsType[named](err); ok {
		return n
	}
	return nil
}

// Known tells whether err is, or wraps, an error of this package.
func Known(err error) bool {
	_, ok := errors.AsType[named](err)
	return ok
}

func (*ImageNotFound) errorName() string          { return "ImageNotFound" }
func (*AmbiguousName) errorName() string          { return "AmbiguousName" }
func (*InvalidReference) errorName() string       { return "InvalidReference" }
func (*InvalidFormat) errorName() string          { return "InvalidFormat" }
func (*ImageInUse) errorName() string             { return "ImageInUse" }
func (*ReadOnlyImage) errorName() string          { return "ReadOnlyImage" }
func (*ReferenceNotFound) errorName() string      { return "ReferenceNotFound" }
func (*AuthenticationRequired) errorName() string { return "AuthenticationRequired" }
func (*AccessDenied) errorName() string           { return "AccessDenied" }
func (*RegistryUnreachable) errorName() string    { return "RegistryUnreachable" }
func (*RateLimited) errorName() string            { return "RateLimited" }
func (*PolicyRejected) errorName() string         { return "PolicyRejected" }
func (*InvalidArchive) errorName() string         { return "InvalidArchive" }
func (*StorageFull) errorName() string            { return "StorageFull" }
func (*StoreBusy) errorName() string              { return "StoreBusy" }
func (*Cancelled) errorName() string              { return "Cancelled" }
func (*LimitExceeded) errorName() string          { return "LimitExceeded" }
func (*JobNotFound) errorName() string            { return "JobNotFound" }
func (*InvalidParameter) errorName() string       { return "InvalidParameter" }
func (*PermissionDenied) errorName() string       { return "PermissionDenied" }
func (*Failed) errorName() string                 { return "Failed" }
