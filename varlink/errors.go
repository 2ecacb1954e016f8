package varlink

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ServiceInterface is the interface that every Varlink service has.
const ServiceInterface = "org.varlink.service"

var (
	// ErrHangup is the cause with which a handler's context ends when its client has gone, and the error of a reply
	// that nobody is there to read.
	ErrHangup = errors.New("varlink: client hung up")
	// ErrServerClosed is returned by Serve after Shutdown or Close, and the cause with which running calls are cancelled.
	ErrServerClosed = errors.New("varlink: server closed")
	// ErrIdle is returned by Serve when Server.IdleTimeout has passed without a connection.
	ErrIdle = errors.New("varlink: idle")
	// ErrClosed is the error of every use of a Client that was closed, or whose connection broke.
	ErrClosed = errors.New("varlink: connection closed")
	// ErrStreaming is the error of a call on a Client whose connection is taken by a Stream that has not ended.
	ErrStreaming = errors.New("varlink: connection is in use by a stream")
	// ErrAddress is in the error of Listen and Dial for an address that cannot be one.
	ErrAddress = errors.New("address")
	// ErrReplied is the error of a reply after the last one of its call.
	ErrReplied = errors.New("varlink: call has been answered already")

	errNoReply   = errors.New("varlink: handler returned without a reply")
	errMalformed = errors.New("varlink: malformed message")
)

// Error is an error with a name of its own on the wire. The value encodes, as JSON, to the error's parameters.
type Error interface {
	error
	// VarlinkError is the full name: io.example.NotFound.
	VarlinkError() string
}

// InvalidParameterError says that a parameter is missing, unknown, or has a value that is not allowed.
type InvalidParameterError struct {
	// Parameter is the name; fields of structures are written with dots: platform.os.
	Parameter string `json:"parameter"`
}

// Error names the parameter.
func (e *InvalidParameterError) Error() string { return "invalid parameter: " + e.Parameter }

// VarlinkError is the error's full name.
func (e *InvalidParameterError) VarlinkError() string { return ServiceInterface + ".InvalidParameter" }

// InterfaceNotFoundError says that the service has no such interface.
type InterfaceNotFoundError struct {
	// Interface is its name.
	Interface string `json:"interface"`
}

// Error names the interface.
func (e *InterfaceNotFoundError) Error() string { return "interface not found: " + e.Interface }

// VarlinkError is the error's full name.
func (e *InterfaceNotFoundError) VarlinkError() string {
	return ServiceInterface + ".InterfaceNotFound"
}

// MethodNotFoundError says that the interface has no such method.
type MethodNotFoundError struct {
	// Method is its full name, the interface's included.
	Method string `json:"method"`
}

// Error names the method.
func (e *MethodNotFoundError) Error() string { return "method not found: " + e.Method }

// VarlinkError is the error's full name.
func (e *MethodNotFoundError) VarlinkError() string { return ServiceInterface + ".MethodNotFound" }

// MethodNotImplementedError says that the interface has the method, but this service does not implement it.
type MethodNotImplementedError struct {
	// Method is its full name, the interface's included.
	Method string `json:"method"`
}

// Error names the method.
func (e *MethodNotImplementedError) Error() string { return "method not implemented: " + e.Method }

// VarlinkError is the error's full name.
func (e *MethodNotImplementedError) VarlinkError() string {
	return ServiceInterface + ".MethodNotImplemented"
}

// PermissionDeniedError says that this client may not make this call, or not on this socket.
type PermissionDeniedError struct{}

// Error is a fixed text: the wire has no room for a reason.
func (e *PermissionDeniedError) Error() string { return "permission denied" }

// VarlinkError is the error's full name.
func (e *PermissionDeniedError) VarlinkError() string { return ServiceInterface + ".PermissionDenied" }

// ExpectedMoreError says that the method can only be called with more.
type ExpectedMoreError struct{}

// Error is a fixed text.
func (e *ExpectedMoreError) Error() string { return "the method must be called with more" }

// VarlinkError is the error's full name.
func (e *ExpectedMoreError) VarlinkError() string { return ServiceInterface + ".ExpectedMore" }

// ExpectedUpgradeError says that the method can only be called with upgrade.
type ExpectedUpgradeError struct{}

// Error is a fixed text.
func (e *ExpectedUpgradeError) Error() string { return "the method must be called with upgrade" }

// VarlinkError is the error's full name.
func (e *ExpectedUpgradeError) VarlinkError() string { return ServiceInterface + ".ExpectedUpgrade" }

// ReplyError is an error reply that is none of org.varlink.service, as a Client received it.
type ReplyError struct {
	// Name is the error's full name.
	Name string
	// Parameters is the JSON object that came with it, {} when there was none.
	Parameters jsontext.Value
}

// Error is the name and the parameters.
func (e *ReplyError) Error() string {
	if len(e.Parameters) == 0 || string(e.Parameters) == "{}" {
		return e.Name
	}
	return e.Name + ": " + string(e.Parameters)
}

// PanicError is a panic of a handler, as Server.InternalError gets it.
type PanicError struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is the goroutine's stack at that point, for a log.
	Stack []byte
}

// Error is the value without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// LimitError says which limit of the runtime was exceeded.
type LimitError struct {
	// Limit is the name of the field of Server: MaxMessageSize, MaxDescriptors.
	Limit string
	// Value is the limit.
	Value int64
}

// Error names the limit and its value.
func (e *LimitError) Error() string {
	return fmt.Sprintf("varlink: limit %s of %d exceeded", e.Limit, e.Value)
}

// serviceErrors makes the typed errors of org.varlink.service for a received name.
var serviceErrors = map[string]func() Error{
	ServiceInterface + ".InvalidParameter":     func() Error { return new(InvalidParameterError) },
	ServiceInterface + ".InterfaceNotFound":    func() Error { return new(InterfaceNotFoundError) },
	ServiceInterface + ".MethodNotFound":       func() Error { return new(MethodNotFoundError) },
	ServiceInterface + ".MethodNotImplemented": func() Error { return new(MethodNotImplementedError) },
	ServiceInterface + ".PermissionDenied":     func() Error { return new(PermissionDeniedError) },
	ServiceInterface + ".ExpectedMore":         func() Error { return new(ExpectedMoreError) },
	ServiceInterface + ".ExpectedUpgrade":      func() Error { return new(ExpectedUpgradeError) },
}

// DecodeErrors turns a *ReplyError anywhere in err into the typed error that known makes for its full name, filled from
// its parameters. Other errors, names that are not known, and parameters that do not fit come back as they were.
func DecodeErrors(err error, known map[string]func() Error) error {
	reply, ok := errors.AsType[*ReplyError](err)
	if !ok {
		return err
	}
	create, ok := known[reply.Name]
	if !ok {
		return err
	}
	typed := create()
	if Unmarshal(reply.Parameters, typed) != nil {
		return err
	}
	return typed
}

// Unmarshal decodes JSON as a client does: fields that out does not know are ignored, so that a service may add some.
// Names are case-sensitive; duplicate names and invalid UTF-8 are errors.
func Unmarshal(data []byte, out any) error {
	return json.Unmarshal(data, out)
}
