package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/names"
)

// methodPull is the method of a pull's job.
const methodPull = "transfers.Pull"

// PullPolicy says when to pull.
type PullPolicy string

// The policies. The zero value means PullAlways.
const (
	// PullAlways asks the registry and fetches what is not here.
	PullAlways PullPolicy = "always"
	// PullMissing pulls only if the store does not have the image.
	PullMissing PullPolicy = "missing"
	// PullNewer pulls only if the registry's image differs, and takes the store's if the registry fails.
	PullNewer PullPolicy = "newer"
	// PullNever only looks into the store.
	PullNever PullPolicy = "never"
)

// Credentials are for one registry and one call: Username and Password, or IdentityToken. They print as nothing, so
// that no log or error has them.
type Credentials struct {
	// Username and Password are given both or neither.
	Username, Password string
	// IdentityToken is what an OAuth2 login returned.
	IdentityToken string
}

// shortestSecret is the length below which a password is no secret, but would be found in any text.
const shortestSecret = 4

// secrets are what must not be in a text. Nil has none.
func (c *Credentials) secrets() []string {
	if c == nil {
		return nil
	}
	return slices.DeleteFunc([]string{c.Password, c.IdentityToken}, func(s string) bool { return len(s) < shortestSecret })
}

// String hides the credentials.
func (Credentials) String() string { return "(credentials)" }

// GoString hides the credentials.
func (c Credentials) GoString() string { return c.String() }

// MarshalText hides the credentials.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// PullOptions say how to pull. The zero value pulls always, for this host's platform, as root.
type PullOptions struct {
	// UID is the user who asks: the job is his.
	UID uint32
	// AllowPath lets the reference name a path on this host, as docker-archive:PATH does.
	AllowPath bool
	// Policy says when to pull. Empty: always.
	Policy PullPolicy
	// AllTags pulls every tag of the repository; the reference must have none.
	AllTags bool
	// Platform is the one to pull. Nil, or an empty field: this host's.
	Platform *names.Platform
	// Credentials go to the reference's registry alone. Nil: those that the daemon's user has for it.
	Credentials *Credentials
	// TLSVerify false takes any certificate and plain HTTP. Nil: as registries.conf says, else true.
	TLSVerify *bool
	// Retries is how often to try again after a failure that may pass, 0 to 100. Nil: 3.
	Retries *int
	// RetryDelay is the pause before the first retry, doubled each time, up to a day. Nil: a second.
	RetryDelay *time.Duration
	// StallTimeout ends an attempt when no byte came for so long, up to a day. Nil: a minute.
	StallTimeout *time.Duration
	// Detach lets the job go on when nobody watches it.
	Detach bool
}

// PullResult is the value that a pull's job ends with.
type PullResult struct {
	// IDs are those of the images, 64 hex digits each.
	IDs []string
	// Names are their references, in the same order; for an image without one, its id with sha256: before it.
	Names []string
}

const (
	maxRetries          = 100
	defaultRetries      = 3
	defaultRetryDelay   = time.Second
	defaultStallTimeout = time.Minute
	maxDuration         = 24 * time.Hour
)

// Jobs returns the engine's jobs.
func (e *Engine) Jobs() *jobs.Manager { return e.jobs }

// Pull starts a job that brings an image into the store, or joins one that does just this for the same user. The
// caller closes the watch. The job's result is a PullResult; its errors are those of io.imaged.transfers.Pull. Pull
// itself fails, besides, with errdefs.InvalidParameter, InvalidReference, PermissionDenied and LimitExceeded. The
// context bounds only the start.
func (e *Engine) Pull(ctx context.Context, reference string, o PullOptions) (*jobs.Watch, error) {
	if ctx.Err() != nil {
		return nil, cancelled(ctx)
	}
	if err := o.fill(); err != nil {
		return nil, err
	}
	source, err := parsePullSource(reference)
	if err != nil {
		return nil, err
	}
	if err := source.check(&o); err != nil {
		return nil, err
	}
	p := &puller{e: e, options: o, source: source, limits: e.pullLimits}
	return e.jobs.Start(jobs.Spec{
		Method: methodPull, Subject: clean(reference), UID: o.UID, Detach: o.Detach, Run: p.run,
		Key: e.jobs.Key(o.key(reference)...),
	})
}

// fill checks the options and puts the defaults in.
func (o *PullOptions) fill() error {
	switch o.Policy {
	case "":
		o.Policy = PullAlways
	case PullAlways, PullMissing, PullNewer, PullNever:
	default:
		return &errdefs.InvalidParameter{Parameter: "policy", Reason: fmt.Sprintf("%q is none of always, missing, newer, never", o.Policy)}
	}
	if c := o.Credentials; c != nil {
		if (c.Username == "") != (c.Password == "") || (c.Username != "") == (c.IdentityToken != "") {
			return &errdefs.InvalidParameter{Parameter: "credentials", Reason: "give a user name and its password, or an identity token"}
		}
	}
	o.Retries = valueOr(o.Retries, defaultRetries)
	o.RetryDelay = valueOr(o.RetryDelay, defaultRetryDelay)
	o.StallTimeout = valueOr(o.StallTimeout, defaultStallTimeout)
	switch {
	case *o.Retries < 0 || *o.Retries > maxRetries:
		return &errdefs.InvalidParameter{Parameter: "retries", Reason: fmt.Sprintf("%d is not between 0 and %d", *o.Retries, maxRetries)}
	case *o.RetryDelay < 0 || *o.RetryDelay > maxDuration:
		return &errdefs.InvalidParameter{Parameter: "retryDelaySeconds", Reason: "it is not between nothing and a day"}
	case *o.StallTimeout <= 0 || *o.StallTimeout > maxDuration:
		return &errdefs.InvalidParameter{Parameter: "stallTimeoutSeconds", Reason: "it is not more than nothing and up to a day"}
	}
	return nil
}

// valueOr returns a copy of what was given, or else of the default.
func valueOr[T any](p *T, value T) *T {
	if p == nil {
		return &value
	}
	return new(*p)
}

// key lists what makes two pulls equal: all but Detach and who asks. AllowPath follows from who asks.
func (o *PullOptions) key(reference string) []string {
	var platform names.Platform
	if o.Platform != nil {
		platform = *o.Platform
	}
	var c Credentials
	if o.Credentials != nil {
		c = *o.Credentials
	}
	verify := "default"
	if o.TLSVerify != nil {
		verify = fmt.Sprint(*o.TLSVerify)
	}
	return []string{
		reference, string(o.Policy), fmt.Sprint(o.AllTags), platform.OS, platform.Architecture, platform.Variant,
		c.Username, c.Password, c.IdentityToken, verify, fmt.Sprint(*o.Retries, *o.RetryDelay, *o.StallTimeout),
	}
}
