package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/signature"
	"github.com/docker/distribution/registry/api/errcode"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// errTruncated is a body that ended before the length that the manifest says.
var errTruncated = errors.New("the body ended too soon")

// transferError is an error of reading what a registry sends, as opposed to one of what was sent.
type transferError struct{ err error }

func (e *transferError) Error() string { return e.err.Error() }
func (e *transferError) Unwrap() error { return e.err }

// origin is where something was asked for.
type origin struct {
	reference string // the full reference
	registry  string // host and port
	given     bool   // credentials were at hand

	secrets []string // of the call
}

// originOf is where what the name stands for is asked for.
func (p *puller) originOf(named reference.Named) origin {
	return origin{
		reference: named.String(), registry: reference.Domain(named), given: p.hasCredentials(named),
		secrets: p.options.Credentials.secrets(),
	}
}

// classify turns an error of talking to a registry, or of unpacking what it sent, into one of errdefs. Some registries
// repeat what they were sent: the credentials of the call are not in it.
func (e *Engine) classify(err error, o origin) error {
	err = e.typed(err, o)
	switch e := errdefs.Find(err).(type) { //nolint:errorlint // Find has unwrapped it
	case *errdefs.AuthenticationRequired:
		e.Reason = o.hide(e.Reason)
	case *errdefs.AccessDenied:
		e.Reason = o.hide(e.Reason)
	case *errdefs.ReferenceNotFound:
		e.Reason = o.hide(e.Reason)
	case *errdefs.RegistryUnreachable:
		e.Reason = o.hide(e.Reason)
	case *errdefs.InvalidArchive:
		e.Reason = o.hide(e.Reason)
	case *errdefs.Failed:
		e.Reason = o.hide(e.Reason)
	}
	return err
}

// hide takes the call's secrets out of what was said of it.
func (o origin) hide(said string) string {
	for _, secret := range o.secrets {
		said = strings.ReplaceAll(said, secret, "…")
	}
	return said
}

func (e *Engine) typed(err error, o origin) error {
	if err == nil || errdefs.Known(err) {
		return err
	}
	for _, try := range []func(error, origin) error{policyError, statusError, networkError, e.localFailure, e.textError} {
		if typed := try(err, o); typed != nil {
			return typed
		}
	}
	return &errdefs.Failed{Reason: clean(err.Error()), Err: quiet{err}}
}

// policyError knows what the host's signature policy says.
func policyError(err error, o origin) error {
	_, unmet := errors.AsType[signature.PolicyRequirementError](err)
	_, forged := errors.AsType[signature.InvalidSignatureError](err)
	if unmet || forged {
		return &errdefs.PolicyRejected{Reference: o.reference, Reason: clean(err.Error()), Err: quiet{err}}
	}
	return nil
}

// statusText finds the status in errors whose type the library keeps to itself: their body was no registry error.
var statusText = regexp.MustCompile(`StatusCode: ([0-9]{3}), `)

// statusError knows what a registry answered.
func statusError(err error, o origin) error {
	if _, ok := errors.AsType[docker.ErrUnauthorizedForCredentials](err); ok {
		return registryError(http.StatusUnauthorized, err, o)
	}
	if errors.Is(err, docker.ErrTooManyRequests) {
		return registryError(http.StatusTooManyRequests, err, o)
	}
	if e, ok := errors.AsType[docker.UnexpectedHTTPStatusError](err); ok {
		return registryError(e.StatusCode, err, o)
	}
	if e, ok := errors.AsType[codedError](err); ok {
		return registryError(codeStatus(e.ErrorCode()), err, o)
	}
	if m := statusText.FindStringSubmatch(err.Error()); m != nil {
		status, _ := strconv.Atoi(m[1]) // three digits
		return registryError(status, err, o)
	}
	return nil
}

// codedError is an error that a registry sent: errcode.Error, or errcode.ErrorCode if it is only a code.
type codedError interface {
	error
	errcode.ErrorCoder
}

// codeStatus returns the status that a code of the distribution specification stands for; 500 for one that says
// nothing.
func codeStatus(code errcode.ErrorCode) int {
	switch code.Descriptor().Value {
	case "UNAUTHORIZED":
		return http.StatusUnauthorized
	case "DENIED":
		return http.StatusForbidden
	case "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "NAME_INVALID", "TAG_INVALID":
		return http.StatusNotFound
	case "TOOMANYREQUESTS":
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

// registryError makes the error for a status that a registry answered with.
func registryError(status int, err error, o origin) error {
	reason := words(err)
	switch {
	case status == http.StatusUnauthorized, status == http.StatusProxyAuthRequired:
		return &errdefs.AuthenticationRequired{Registry: o.registry, Given: o.given, Reason: reason, Err: quiet{err}}
	case status == http.StatusForbidden, status == http.StatusUnavailableForLegalReasons:
		return &errdefs.AccessDenied{Registry: o.registry, Reason: reason, Err: quiet{err}}
	case status == http.StatusNotFound, status == http.StatusGone:
		return &errdefs.ReferenceNotFound{Reference: o.reference, Registry: o.registry, Reason: reason, Err: quiet{err}}
	case status == http.StatusTooManyRequests:
		return &errdefs.RateLimited{Registry: o.registry, Err: quiet{err}}
	}
	return unreachable(err, o)
}

func unreachable(err error, o origin) *errdefs.RegistryUnreachable {
	return &errdefs.RegistryUnreachable{Registry: o.registry, Reason: words(err), Err: quiet{err}}
}

// networkError knows what keeps an answer from coming.
func networkError(err error, o origin) error {
	if _, ok := errors.AsType[*transferError](err); ok {
		return unreachable(err, o)
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return unreachable(err, o)
	}
	if _, ok := errors.AsType[*net.OpError](err); ok { // not net.Error: every system error is one
		return unreachable(err, o)
	}
	if errors.Is(err, errTruncated) {
		return unreachable(err, o)
	}
	return nil
}

// localFailure knows what the store and the system say.
func (e *Engine) localFailure(err error, _ origin) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &errdefs.Cancelled{Err: quiet{err}}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &errdefs.StorageFull{Path: e.fullPath(err), Reason: clean(err.Error()), Err: quiet{err}}
	case errors.Is(err, unix.EDEADLK), errors.Is(err, unix.ENOLCK):
		return &errdefs.StoreBusy{Reason: clean(err.Error()), Err: quiet{err}}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &errdefs.InvalidArchive{Reason: clean(err.Error()), Err: quiet{err}}
	}
	return nil
}

// mayPass tells whether trying again has a chance.
func mayPass(err error) bool {
	if _, ok := errors.AsType[*errdefs.RateLimited](err); ok {
		return true
	}
	if _, ok := errors.AsType[*errdefs.RegistryUnreachable](err); !ok {
		return false
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return false
	}
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	return !plain && !isCertificateError(err) && !errors.Is(err, http.ErrSchemeMismatch)
}

func isCertificateError(err error) bool {
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return authority || host || invalid
}
