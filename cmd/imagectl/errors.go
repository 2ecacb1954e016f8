package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/imaged-project/imaged/varlink"
)

// failure is an error of imagectl's own, in the three parts in which the daemon's are written too.
type failure struct {
	code int    // exit code
	what string // what failed; empty if the exit code says it all and nothing is to be printed
	why  string // why, in the system's words
	next string // what to do next
	err  error  // cause, if any
}

// Error implements error: "what: why; next".
func (f *failure) Error() string {
	text := f.what
	if f.why != "" {
		text += ": " + f.why
	}
	if f.next != "" {
		text += "; " + f.next
	}
	return text
}

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

// failures are the errors of several names, of which the first decides the exit code.
type failures struct{ errs []error }

// Error implements error.
func (f *failures) Error() string { return errors.Join(f.errs...).Error() }

// Unwrap returns the errors.
func (f *failures) Unwrap() []error { return f.errs }

// all makes one error of those of several names, nil of none.
func all(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return &failures{errs}
}

// silent is a failure that is told by the exit code alone.
func silent(code int) error { return &failure{code: code} }

// usagef is a mistake in the command line.
func usagef(next, format string, args ...any) error {
	return &failure{code: exitUsage, what: fmt.Sprintf(format, args...), next: next}
}

// interrupted is what a signal makes of an error. What it says is what the hang-up means for the work.
func interrupted(what string) error { return &failure{code: exitInterrupted, what: what} }

// remote gives the name and the parameters of an error that came as a reply. Not ok: it is none.
func remote(err error) (name string, parameters []byte, ok bool) {
	if reply, is := errors.AsType[*varlink.ReplyError](err); is {
		return reply.Name, reply.Parameters, true
	}
	typed, is := errors.AsType[varlink.Error](err)
	if !is {
		return "", nil, false
	}
	parameters, err = json.Marshal(typed)
	if err != nil {
		parameters = []byte("{}")
	}
	return typed.VarlinkError(), parameters, true
}

// errorReply is an error reply as it stands on the wire.
type errorReply struct {
	Error      string          `json:"error"`
	Parameters json.RawMessage `json:"parameters"`
}

// printError tells an error on standard error: for programs as the reply it came in, for people as text.
func (a *app) printError(err error) {
	if several, ok := errors.AsType[*failures](err); ok {
		for _, one := range several.errs {
			a.printError(one)
		}
		return
	}
	if f, ok := errors.AsType[*failure](err); ok && f.what == "" {
		return
	}
	name, parameters, isReply := remote(err)
	if isReply && a.errorsAsJSON() {
		// Nothing can be done about an error that cannot be printed.
		_ = writeJSON(a.streams.Err, errorReply{name, parameters}, false)
		return
	}
	say(a.streams.Err, "imagectl: %s\n", escapeLines(errorText(err, name, parameters)))
}

// errorsAsJSON tells whether programs read standard error: with --json, or because they want the frames of progress.
func (a *app) errorsAsJSON() bool {
	mode, err := a.progressMode()
	return a.json || err == nil && mode == progressRaw
}

// errorText is the error's own message; the daemon's hold what, why and what next.
func errorText(err error, name string, parameters []byte) string {
	var reply struct {
		Message   string `json:"message"`
		Parameter string `json:"parameter"`
		Method    string `json:"method"`
		Interface string `json:"interface"`
	}
	if name == "" || json.Unmarshal(parameters, &reply) != nil {
		return err.Error()
	}
	switch name {
	case "org.varlink.service.PermissionDenied":
		return "the daemon refuses this call: it is not for your user, or not for its read-only socket; call it as root or as the daemon's user, over its full socket"
	case "org.varlink.service.InvalidParameter":
		return refused(reply.Parameter)
	case "org.varlink.service.MethodNotFound", "org.varlink.service.MethodNotImplemented":
		return fmt.Sprintf("the daemon has no method %s; imagectl info tells its version and interfaces", reply.Method)
	case "org.varlink.service.InterfaceNotFound":
		return fmt.Sprintf("the daemon has no interface %s; imagectl info tells its version and interfaces", reply.Interface)
	case "org.varlink.service.ExpectedMore":
		return "the method replies more than once; give --more"
	}
	if reply.Message == "" {
		return err.Error()
	}
	return reply.Message
}

// ended tells whether an error is no more than the end of ctx, or what that end did to the connection.
func ended(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() == nil {
		return false
	}
	_, _, isReply := remote(err)
	_, isOurs := errors.AsType[*failure](err)
	return !isReply && !isOurs
}

// talk tells people what is going on, unless they want quiet.
func (a *app) talk(format string, args ...any) {
	if !a.quiet {
		say(a.streams.Err, format+"\n", args...)
	}
}

// say writes talk. That standard error takes no more is nothing that could be told, and no reason to stop.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// closeQuietly is for what was only read: its close tells nothing that the reads did not.
func closeQuietly(c io.Closer) { _ = c.Close() }
