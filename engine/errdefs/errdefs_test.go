package errdefs_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/engine/errdefs"
)

var errCause = errors.New("the cause")

// all has one value of each type.
var all = []error{
	&errdefs.ImageNotFound{Name: "n", Err: errCause},
	&errdefs.AmbiguousName{Name: "n", Candidates: []string{"a", "b"}},
	&errdefs.InvalidReference{Reference: "r", Reason: "w", Err: errCause},
	&errdefs.ImageInUse{Name: "n", Containers: []string{"c"}},
	&errdefs.ReadOnlyImage{Name: "n", Err: errCause},
	&errdefs.ReferenceNotFound{Reference: "r", Registry: "g", Err: errCause},
	&errdefs.AuthenticationRequired{Registry: "g", Reason: "w", Err: errCause},
	&errdefs.AccessDenied{Registry: "g", Reason: "w", Err: errCause},
	&errdefs.RegistryUnreachable{Registry: "g", Reason: "w", Err: errCause},
	&errdefs.RateLimited{Registry: "g", RetryAfter: new(int64(7)), Err: errCause},
	&errdefs.PolicyRejected{Reference: "r", Reason: "w", Err: errCause},
	&errdefs.InvalidArchive{Reason: "w", Err: errCause},
	&errdefs.StorageFull{Path: "/p", Reason: "w", Err: errCause},
	&errdefs.StoreBusy{Reason: "w", Err: errCause},
	&errdefs.Cancelled{Job: "j", Err: errCause},
	&errdefs.LimitExceeded{Limit: "l", Value: 3},
	&errdefs.JobNotFound{Job: "j"},
	&errdefs.InvalidParameter{Parameter: "p", Reason: "w"},
	&errdefs.PermissionDenied{Reason: "w", Err: errCause},
	&errdefs.Failed{Reason: "w", Err: errCause},
}

func TestNameAndCause(t *testing.T) {
	t.Parallel()
	for _, err := range all {
		want := reflect.TypeOf(err).Elem().Name()
		if got := errdefs.Name(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("Name(%T) = %s, want %s", err, got, want)
		}
		if !errdefs.Known(err) {
			t.Errorf("%T is not known", err)
		}
		if reflect.ValueOf(err).Elem().FieldByName("Err").IsValid() != errors.Is(err, errCause) {
			t.Errorf("%T does not unwrap to its cause", err)
		}
	}
	if got := errdefs.Name(nil); got != "" {
		t.Errorf("Name(nil) = %q", got)
	}
	if err := context.Canceled; errdefs.Name(err) != "Failed" || errdefs.Known(err) {
		t.Error("a foreign error is taken for one of ours")
	}
}

// A message says what failed, why, and what to do next.
func TestMessages(t *testing.T) {
	t.Parallel()
	for _, err := range all {
		text := err.Error()
		if !strings.Contains(text, "; ") || strings.Contains(text, "%!") || strings.ContainsAny(text, "\n\r") {
			t.Errorf("%T: %q", err, text)
		}
	}
	many := &errdefs.ImageInUse{Name: "n\n", Names: []string{"1", "2", "3", "4", "5", "6", "7"}}
	if text := many.Error(); !strings.Contains(text, "and 2 more") || strings.Contains(text, "\n") {
		t.Errorf("message = %q", text)
	}
	tried := &errdefs.ReferenceNotFound{Reference: "r", Registry: "g", Attempts: []errdefs.Attempt{{Endpoint: "m1", Error: "X", Reason: "y"}, {Endpoint: "m2"}}}
	if text := tried.Error(); !strings.Contains(text, "m1 (X: y)") {
		t.Errorf("message = %q", text)
	}
	again := &errdefs.RegistryUnreachable{Registry: "g", Reason: "y", Attempts: []errdefs.Attempt{{Endpoint: "m1", Reason: "y"}, {Endpoint: "m1", Reason: "y"}}}
	if text := again.Error(); !strings.HasPrefix(text, "registry g: unreachable: y, tried 2 times; ") {
		t.Errorf("message = %q", text)
	}
	again.Attempts = append(again.Attempts, errdefs.Attempt{Endpoint: "m2", Error: "X", Reason: "z"})
	if text := again.Error(); !strings.Contains(text, ", tried m1 (: y) 2 times, m2 (X: z); ") {
		t.Errorf("message = %q", text)
	}
	if got := (&errdefs.Failed{Err: errCause}).Cause(); got != "the cause" {
		t.Errorf("Cause = %q", got)
	}
}

// TestNextStep proves that messages say what to do about this very cause.
func TestNextStep(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		`reference "A": w; write it as [registry/]repository[:tag] or [registry/]repository@digest`: &errdefs.InvalidReference{Reference: "A", Reason: "w"},
		`reference "dir:x": w; write it as dir:/path, absolute, and see what is there`:              &errdefs.InvalidReference{Reference: "dir:x", Reason: "w"},
		`reference "x": w; do that`:                       &errdefs.InvalidReference{Reference: "x", Reason: "w", Next: "do that"},
		`format "f": there is no such format; use a or b`: &errdefs.InvalidFormat{Format: "f", Supported: []string{"a", "b"}},
		`format "f": w; use a`:                            &errdefs.InvalidFormat{Format: "f", Reason: "w", Supported: []string{"a"}},
		`registry g: unreachable: w; check its address and the network, or try again later`:                                       &errdefs.RegistryUnreachable{Registry: "g", Reason: "w"},
		`registry g: unreachable: x509: w; give the host its CA's certificate, or call with tlsVerify false (--tls-verify=false)`: &errdefs.RegistryUnreachable{Registry: "g", Reason: "x509: w"},
	} {
		if got := err.Error(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
