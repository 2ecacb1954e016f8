package errdefs

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Attempt is one try at a registry: a mirror, a candidate of a short name, or a retry.
type Attempt struct {
	// Endpoint is where it went: a reference or a registry's address. Never with user information.
	Endpoint string
	// Error is the bare name of the error it ended with, as Name gives it.
	Error string
	// Reason is the cause in the registry's or system's words.
	Reason string
}

// ReferenceNotFound says that the registry does not have the image.
type ReferenceNotFound struct {
	// Reference is the full reference that was asked for.
	Reference string
	// Registry is the registry's host and port.
	Registry string
	// Reason says more: the registry's words, or which platforms it has the image for. Optional.
	Reason string
	// Attempts are all tries, in their order.
	Attempts []Attempt
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *ReferenceNotFound) Error() string {
	reason := ""
	if e.Reason != "" {
		reason = ": " + e.Reason
	}
	return fmt.Sprintf("image %s: registry %s does not have it%s%s; check the name and the tag",
		e.Reference, e.Registry, reason, tried(e.Attempts))
}

// Unwrap returns the cause.
func (e *ReferenceNotFound) Unwrap() error { return e.Err }

// AuthenticationRequired says that the registry wants credentials, or refused those given.
type AuthenticationRequired struct {
	// Registry is the registry's host and port.
	Registry string
	// Given is true if credentials were sent and refused.
	Given bool
	// Reason is the registry's words.
	Reason string
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *AuthenticationRequired) Error() string {
	if e.Given {
		return fmt.Sprintf("registry %s: it refused the credentials: %s; check user name and password", e.Registry, e.Reason)
	}
	return fmt.Sprintf("registry %s: it wants credentials: %s; give credentials with the call", e.Registry, e.Reason)
}

// Unwrap returns the cause.
func (e *AuthenticationRequired) Unwrap() error { return e.Err }

// AccessDenied says that the registry knows the caller but does not allow this, or will not say whether the image
// exists.
type AccessDenied struct {
	// Registry is the registry's host and port.
	Registry string
	// Reason is the registry's words.
	Reason string
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *AccessDenied) Error() string {
	return fmt.Sprintf("registry %s: access denied: %s; check the name, and that these credentials may use it", e.Registry, e.Reason)
}

// Unwrap returns the cause.
func (e *AccessDenied) Unwrap() error { return e.Err }

// RegistryUnreachable says that the registry could not be reached, or did not answer as a registry does.
type RegistryUnreachable struct {
	// Registry is the registry's host and port.
	Registry string
	// Reason is the system's words.
	Reason string
	// RetryAfter is how many seconds it asked to wait; nil if it did not say.
	RetryAfter *int64
	// Attempts are all tries, in their order.
	Attempts []Attempt
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *RegistryUnreachable) Error() string {
	return fmt.Sprintf("registry %s: unreachable: %s%s; %s", e.Registry, e.Reason, tried(e.Attempts), e.next())
}

// next says what to do.
func (e *RegistryUnreachable) next() string {
	switch {
	case e.RetryAfter != nil:
		return "try again in " + strconv.FormatInt(*e.RetryAfter, 10) + " s"
	case strings.Contains(e.Reason, "server gave HTTP response to HTTPS client"), strings.Contains(e.Reason, "does not look like a TLS handshake"):
		return "if it is meant to speak plain HTTP, call with tlsVerify false (--tls-verify=false)"
	case strings.Contains(e.Reason, "x509: "):
		return "give the host its CA's certificate, or call with tlsVerify false (--tls-verify=false)"
	}
	return "check its address and the network, or try again later"
}

// Unwrap returns the cause.
func (e *RegistryUnreachable) Unwrap() error { return e.Err }

// RateLimited says that the registry wants fewer requests.
type RateLimited struct {
	// Registry is the registry's host and port.
	Registry string
	// RetryAfter is how many seconds it asked to wait; nil if it did not say.
	RetryAfter *int64
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *RateLimited) Error() string {
	when := "try again later"
	if e.RetryAfter != nil {
		when = "try again in " + strconv.FormatInt(*e.RetryAfter, 10) + " s"
	}
	return fmt.Sprintf("registry %s: too many requests; %s, or give credentials with a higher limit", e.Registry, when)
}

// Unwrap returns the cause.
func (e *RateLimited) Unwrap() error { return e.Err }

// PolicyRejected says that the host's signature policy does not let the image in.
type PolicyRejected struct {
	// Reference is the full reference.
	Reference string
	// Reason is the policy's words.
	Reason string
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *PolicyRejected) Error() string {
	return fmt.Sprintf("image %s: the signature policy of this host rejects it: %s; policy.json says what is let in", e.Reference, e.Reason)
}

// Unwrap returns the cause.
func (e *PolicyRejected) Unwrap() error { return e.Err }

// InvalidArchive says that an image, a layer or an archive is broken or not of a kind that is known.
type InvalidArchive struct {
	// Reason says what is wrong with it.
	Reason string
	// Next says what to do. Empty: the archive itself is of no use.
	Next string
	// Err is the cause, if any.
	Err error
}

// Error implements error.
func (e *InvalidArchive) Error() string {
	return fmt.Sprintf("archive: invalid: %s; %s", e.Reason, cmp.Or(e.Next, "make or fetch it anew"))
}

// Unwrap returns the cause.
func (e *InvalidArchive) Unwrap() error { return e.Err }

// tried tells of the attempts, equal ones once. If all are equal, the error itself says already what they ended with.
func tried(attempts []Attempt) string {
	if len(attempts) < 2 {
		return ""
	}
	var different []Attempt
	count := map[Attempt]int{}
	for _, a := range attempts {
		if count[a]++; count[a] == 1 {
			different = append(different, a)
		}
	}
	times := func(n int) string { return fmt.Sprintf("%d times", n) }
	if len(different) == 1 {
		return ", tried " + times(len(attempts))
	}
	texts := make([]string, 0, len(different))
	for _, a := range different {
		text := a.Endpoint + " (" + a.Error + ": " + a.Reason + ")"
		if n := count[a]; n > 1 {
			text += " " + times(n)
		}
		texts = append(texts, text)
	}
	return ", tried " + strings.Join(texts, ", ")
}
