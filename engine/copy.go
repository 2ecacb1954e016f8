package engine

import (
	"context"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
)

// methodCopy is the method of a copy's job.
const methodCopy = "transfers.Copy"

// CopyOptions say how to copy. The zero value copies one image, as root.
type CopyOptions struct {
	// UID is the user who asks: the job is his.
	UID uint32
	// AllowPath lets a place name a path on this host.
	AllowPath bool
	// All copies all images of a manifest list, and the list. Else the one for this host is copied. The store takes
	// single images only.
	All bool
	// SourceCredentials and DestinationCredentials go to the registry of their side alone. Nil: those that the daemon's
	// user has for it.
	SourceCredentials, DestinationCredentials *Credentials
	// SourceTLSVerify and DestinationTLSVerify false take any certificate and plain HTTP. Nil: as registries.conf
	// says, else true.
	SourceTLSVerify, DestinationTLSVerify *bool
}

// CopyResult is the value that a copy's job ends with.
type CopyResult struct {
	// Digest is that of the manifest at the destination, as sha256:….
	Digest string
}

// Copy starts a job that copies an image from one place to another. A place is one of
//
//	docker://REFERENCE                 in a registry
//	containers-storage:NAME            in the store; as a source an id will do, too
//	docker-archive:PATH[:REFERENCE]    in a file; as a source @N means the image at place N
//	oci-archive:PATH[:NAME]            in a file
//	oci:PATH[:NAME]                    in a folder with an OCI layout, which may have other images
//	dir:PATH                           in a folder of its own
//
// Paths are absolute and have no colon. A file, and the folder of dir:, must not be there yet; it is there only when it is
// complete. The host's signature policy judges the source.
//
// The caller closes the watch. The job's result is a CopyResult; its errors are those of io.imaged.transfers.Copy. Copy
// itself fails with errdefs.InvalidReference, InvalidParameter, PermissionDenied and LimitExceeded. The context bounds
// only the start.
func (e *Engine) Copy(ctx context.Context, source, destination string, o CopyOptions) (*jobs.Watch, error) {
	if ctx.Err() != nil {
		return nil, cancelled(ctx)
	}
	c := &copier{e: e, options: o}
	var err error
	if c.from, err = parsePlace(source); err != nil {
		return nil, err
	}
	if c.to, err = parsePlace(destination); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return e.jobs.Start(jobs.Spec{Method: methodCopy, Subject: clean(source + " to " + destination), UID: o.UID, Run: c.run})
}

// check holds the options against the places.
func (c *copier) check() error {
	for parameter, given := range map[string]*Credentials{
		"sourceCredentials": c.options.SourceCredentials, "destinationCredentials": c.options.DestinationCredentials,
	} {
		if given != nil && ((given.Username == "") != (given.Password == "") || (given.Username != "") == (given.IdentityToken != "")) {
			return &errdefs.InvalidParameter{Parameter: parameter, Reason: "give a user name and its password, or an identity token"}
		}
	}
	switch {
	case !c.options.AllowPath && (c.from.path != "" || c.to.path != ""):
		return &errdefs.PermissionDenied{Reason: "only the daemon's own user may name a path"}
	case c.options.All && c.to.transport == transportStore:
		return &errdefs.InvalidParameter{Parameter: "all", Reason: "the store takes single images only"}
	}
	return c.to.checkDestination()
}
