package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

func TestExitCode(t *testing.T) {
	t.Parallel()
	notFound, inUse := &images.ImageNotFoundError{}, &images.ImageInUseError{}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitDone},
		{errors.New("anything"), exitFailed},
		{&images.FailedError{}, exitFailed},
		{&transfers.CancelledError{}, exitFailed},
		{&varlink.InvalidParameterError{}, exitUsage},
		{&transfers.InvalidReferenceError{}, exitUsage},
		{fmt.Errorf("wrapped: %w", notFound), exitNotFound},
		{&varlink.ReplyError{Name: "io.imaged.transfers.ReferenceNotFound"}, exitNotFound},
		{&varlink.ReplyError{Name: "io.imaged.later.ManifestNotFound"}, exitNotFound},
		{&varlink.ReplyError{Name: "io.imaged.later.NeverHeardOf"}, exitFailed},
		{&varlink.PermissionDeniedError{}, exitAccess},
		{&transfers.AuthenticationRequiredError{}, exitAccess},
		{inUse, exitInUse},
		{usagef("", "x"), exitUsage},
		{silent(exitNotFound), exitNotFound},
		{all([]error{inUse, usagef("", "x"), notFound}), exitInUse},
		{all(nil), exitDone},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: got %d, want %d", c.err, got, c.want)
		}
	}
}
