package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

func TestLocalErrors(t *testing.T) {
	t.Parallel()
	e := &Engine{}
	for want, causes := range map[string][]error{
		"StorageFull": {unix.ENOSPC, unix.EDQUOT},
		"StoreBusy":   {unix.EAGAIN, unix.EBUSY, unix.ENOLCK, unix.EDEADLK},
		"Cancelled":   {context.Canceled, context.DeadlineExceeded},
		"Failed":      {unix.EIO, fs.ErrPermission},
		"JobNotFound": {&errdefs.JobNotFound{}},
	} {
		for _, cause := range causes {
			wantError(t, "localError", e.localError("do", fmt.Errorf("wrapped: %w", cause)), want)
		}
	}
	var full *errdefs.StorageFull
	err := e.localError("do", &fs.PathError{Op: "write", Path: "/store/x", Err: unix.ENOSPC})
	if !errors.As(err, &full) || full.Path != "/store/x" || full.Reason != "do: write /store/x: no space left on device" {
		t.Errorf("full = %+v", full)
	}
	if err := e.localError("do", nil); err != nil {
		t.Errorf("no error became %v", err)
	}
}
