package service

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/info"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// declared holds the errors that each interface declares, by full name.
var declared = map[string]map[string]func() varlink.Error{
	images.Interface:    images.Errors,
	transfers.Interface: transfers.Errors,
	jobs.Interface:      jobs.Errors,
	info.Interface:      info.Errors,
}

// parameters are those of all errors; each error declares some of them.
type parameters struct {
	Name              string              `json:"name,omitzero"`
	Candidates        []string            `json:"candidates,omitzero"`
	Reference         string              `json:"reference,omitzero"`
	Reason            string              `json:"reason,omitzero"`
	Containers        []string            `json:"containers,omitzero"`
	Job               string              `json:"job,omitzero"`
	Registry          string              `json:"registry,omitzero"`
	Given             bool                `json:"given,omitzero"`
	RetryAfterSeconds *int64              `json:"retryAfterSeconds,omitzero"`
	Attempts          []transfers.Attempt `json:"attempts,omitzero"`
	Path              string              `json:"path,omitzero"`
	Limit             string              `json:"limit,omitzero"`
	Value             int64               `json:"value,omitzero"`
	Format            string              `json:"format,omitzero"`
	Supported         []string            `json:"supported,omitzero"`
	Message           string              `json:"message"`
}

// failure turns an engine error into the error that iface declares for it. What iface does not declare becomes its
// Failed, a bad parameter and a refusal those of org.varlink.service. nil stays nil, and so does what has a Varlink name.
func failure(iface string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[varlink.Error](err); ok {
		return err
	}
	if e, ok := errors.AsType[*errdefs.InvalidParameter](err); ok {
		return &varlink.InvalidParameterError{Parameter: e.Parameter}
	}
	if _, ok := errors.AsType[*errdefs.PermissionDenied](err); ok {
		return &varlink.PermissionDeniedError{}
	}
	name := iface + "." + errdefs.Name(err)
	known := declared[iface]
	if known[name] == nil {
		name, err = iface+".Failed", &errdefs.Failed{Err: err}
	}
	if known[name] == nil {
		return err
	}
	typed := known[name]()
	text, _ := json.Marshal(parametersOf(err))
	if e := json.Unmarshal(text, typed); e != nil {
		return errors.Join(err, e)
	}
	return typed
}

// errorName is the full name of the error that a call of method ends with for err; empty for nil.
func errorName(method string, err error) string {
	if e, ok := errors.AsType[varlink.Error](failure(interfaceOf(method), err)); ok {
		return e.VarlinkError()
	}
	return ""
}

func interfaceOf(method string) string {
	return method[:max(0, strings.LastIndexByte(method, '.'))]
}

// internalError makes a panic, and an error that a method let through, the Failed of the method's interface. A reply that is
// too long for a message is its LimitExceeded.
func internalError(c *varlink.Call, err error) error {
	if _, ok := errors.AsType[*varlink.PanicError](err); ok {
		err = &errdefs.Failed{Reason: "internal error in " + c.Method()}
	}
	if e, ok := errors.AsType[*varlink.LimitError](err); ok {
		err = &errdefs.LimitExceeded{Limit: limitMessage, Value: e.Value}
	}
	return failure(interfaceOf(c.Method()), err)
}

// message is an error's text for the client, without what the caller or a library put into it and must not be seen.
func message(err error) string { return errdefs.Redact(err.Error()) }

func parametersOf(err error) parameters {
	p := parameters{Message: message(err)}
	switch e := errdefs.Find(err).(type) { //nolint:errorlint // Find has looked through the chain
	case *errdefs.ImageNotFound:
		p.Name = e.Name
	case *errdefs.AmbiguousName:
		p.Name, p.Candidates = e.Name, e.Candidates
	case *errdefs.InvalidReference:
		p.Reference, p.Reason = e.Reference, e.Reason
	case *errdefs.ImageInUse:
		p.Name, p.Containers = e.Name, e.Containers
	case *errdefs.ReadOnlyImage:
		p.Name = e.Name
	case *errdefs.ReferenceNotFound:
		p.Reference, p.Registry, p.Attempts = e.Reference, e.Registry, attempts(e.Attempts)
	case *errdefs.AuthenticationRequired:
		p.Registry, p.Given, p.Reason = e.Registry, e.Given, e.Reason
	case *errdefs.AccessDenied:
		p.Registry, p.Reason = e.Registry, e.Reason
	case *errdefs.RegistryUnreachable:
		p.Registry, p.Reason, p.Attempts = e.Registry, e.Reason, attempts(e.Attempts)
	case *errdefs.RateLimited:
		p.Registry, p.RetryAfterSeconds = e.Registry, e.RetryAfter
	case *errdefs.PolicyRejected:
		p.Reference, p.Reason = e.Reference, e.Reason
	case *errdefs.InvalidArchive:
		p.Reason = e.Reason
	case *errdefs.InvalidFormat:
		p.Format, p.Supported = e.Format, e.Supported
	case *errdefs.StorageFull:
		p.Path, p.Reason = e.Path, e.Reason
	case *errdefs.StoreBusy:
		p.Reason = e.Reason
	case *errdefs.Cancelled:
		p.Job = e.Job
	case *errdefs.LimitExceeded:
		p.Limit, p.Value = e.Limit, e.Value
	case *errdefs.JobNotFound:
		p.Job = e.Job
	case *errdefs.Failed:
		p.Reason = e.Cause()
	}
	// These are as the caller gave them, or from a library that repeats them.
	for _, text := range []*string{&p.Name, &p.Reference, &p.Reason, &p.Registry} {
		*text = errdefs.Redact(*text)
	}
	return p
}

func attempts(all []errdefs.Attempt) []transfers.Attempt {
	out := make([]transfers.Attempt, 0, len(all))
	for _, a := range all {
		out = append(out, transfers.Attempt(a))
	}
	return out
}
