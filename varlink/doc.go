// Package varlink is a runtime for the Varlink protocol: servers, clients, listeners and socket activation over Unix
// stream sockets, with file descriptors in both directions.
//
// A message is one JSON object and one NUL byte. A [Server] reads calls, checks them against the interface description
// that was registered (see [Interface]), runs the method, and writes its replies in order; calls of one connection
// never overlap. A [Client] is the other end. What an interface looks like in Go (types, errors, a handler, a client) is
// the business of generated code, which stands on [Handle], [HandleStream] and [Client]; a hand-written [Method] works
// as well.
//
// # Descriptors
//
// A descriptor travels with the first byte of its message, and a parameter names it by its index, counted from 0. The
// parameters that do so are, as in systemd's own interfaces, the integers called fileDescriptor or fileDescriptors, or
// whose name ends with FileDescriptor or FileDescriptors. A call with an index that has no descriptor, or with a
// descriptor that no parameter names, is answered with [InvalidParameterError]. Received descriptors that nobody took
// are closed.
//
// # Errors
//
// An error that implements [Error] goes over the wire under its own name with itself as parameters. The errors of
// org.varlink.service are types of this package on both ends. Every other error is internal: [Server.InternalError]
// turns it into one that may be sent, or the connection is closed.
//
// # Hang-up
//
// The context of a handler ends, with the cause [ErrHangup], when the client has closed its connection. A client that
// has only finished writing (printf … | nc -N -U socket) still gets its replies.
//
// Any package may import this one. It imports the standard library, github.com/varlink/go (IDL parser and dispatch),
// github.com/go-json-experiment/json, go-systemd's activation and golang.org/x/sys, and knows nothing of what is served.
package varlink
