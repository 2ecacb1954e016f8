package layout

import (
	"context"
	"errors"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
)

// errWriteOnly is asked for by nobody: images are only written in this way.
var errWriteOnly = errors.New("images of this form are only written here")

// outputReference is the library's view of a destination that is open already.
type outputReference struct {
	kind transport
	open func(types.ImageReference) types.ImageDestination
}

// transport is the library's view of a kind of destination.
type transport string

// Name is what lines of text call the destination.
func (t transport) Name() string { return string(t) }

// ParseReference is not possible.
func (t transport) ParseReference(string) (types.ImageReference, error) { return nil, errWriteOnly }

// ValidatePolicyConfigurationScope is not possible.
func (t transport) ValidatePolicyConfigurationScope(string) error { return errWriteOnly }

// Transport returns the kind.
func (r outputReference) Transport() types.ImageTransport { return r.kind }

// StringWithinTransport is what lines of text call the destination.
func (r outputReference) StringWithinTransport() string { return "output" }

// DockerReference returns nil.
func (r outputReference) DockerReference() reference.Named { return nil }

// PolicyConfigurationIdentity returns nothing: no policy judges a destination.
func (r outputReference) PolicyConfigurationIdentity() string { return "" }

// PolicyConfigurationNamespaces returns nothing.
func (r outputReference) PolicyConfigurationNamespaces() []string { return nil }

// NewImage is not possible.
func (r outputReference) NewImage(context.Context, *types.SystemContext) (types.ImageCloser, error) {
	return nil, errWriteOnly
}

// NewImageSource is not possible.
func (r outputReference) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return nil, errWriteOnly
}

// NewImageDestination returns the destination.
func (r outputReference) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return r.open(r), nil
}

// DeleteImage is not possible.
func (r outputReference) DeleteImage(context.Context, *types.SystemContext) error {
	return errWriteOnly
}
