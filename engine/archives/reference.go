package archives

import (
	"context"
	"errors"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/types"
)

// errReadOnly is the answer to everything but reading.
var errReadOnly = errors.New("an archive that is being read cannot be changed")

// imageReference is an image of an open archive.
type imageReference struct{ image *Image }

// transport stands for the library's transport of the same name. The signature policy knows it by that.
type transport string

// transportOf returns the name under which the signature policy knows a kind.
func transportOf(a *Archive) transport {
	switch a.kind {
	case DockerArchive:
		return "docker-archive"
	case DockerDir:
		return "dir"
	case OCIDir:
		return "oci"
	case RootFS:
		return "tarball"
	}
	return "oci-archive"
}

// Name returns the transport's name.
func (t transport) Name() string { return string(t) }

// ParseReference refuses: an open archive is not found by a text.
func (t transport) ParseReference(string) (types.ImageReference, error) { return nil, errReadOnly }

// ValidatePolicyConfigurationScope accepts all: the policy was checked by the library's transport.
func (t transport) ValidatePolicyConfigurationScope(string) error { return nil }

// Transport returns the transport of the archive's kind.
func (r imageReference) Transport() types.ImageTransport { return transportOf(r.image.archive) }

// StringWithinTransport describes the image for people.
func (r imageReference) StringWithinTransport() string {
	path := r.image.archive.path
	if path == "" {
		path = "(descriptor)"
	}
	name := "sha256:" + r.image.ID()
	if len(r.image.names) > 0 {
		name = r.image.names[0]
	}
	return path + ":" + name
}

// DockerReference returns nil: a name that an archive gives is not what anyone asked for.
func (r imageReference) DockerReference() reference.Named { return nil }

// PolicyConfigurationIdentity returns the path, as the library does for all kinds but docker-archive.
func (r imageReference) PolicyConfigurationIdentity() string {
	if r.image.archive.kind == DockerArchive {
		return ""
	}
	return r.image.archive.path
}

// PolicyConfigurationNamespaces returns the folders above the path.
func (r imageReference) PolicyConfigurationNamespaces() []string {
	var list []string
	path := r.PolicyConfigurationIdentity()
	for at := strings.LastIndexByte(path, '/'); at > 0; at = strings.LastIndexByte(path, '/') {
		path = path[:at]
		list = append(list, path)
	}
	return list
}

// NewImage returns the image.
func (r imageReference) NewImage(ctx context.Context, sys *types.SystemContext) (types.ImageCloser, error) {
	return image.FromSource(ctx, sys, source(r))
}

// NewImageSource returns the image's source.
func (r imageReference) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return source(r), nil
}

// NewImageDestination refuses.
func (r imageReference) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return nil, errReadOnly
}

// DeleteImage refuses.
func (r imageReference) DeleteImage(context.Context, *types.SystemContext) error { return errReadOnly }
