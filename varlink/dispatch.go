package varlink

import (
	"context"
	"errors"
	"strings"

	upstream "github.com/varlink/go/varlink"
)

// Interface is an interface with its methods, ready to be registered.
type Interface struct {
	// Name is the interface's: io.example.greeter.
	Name string
	// Description is the interface file, which is served as it is, and by which parameters are checked.
	Description string
	// Methods are the implemented ones by their short names. The others of the description are answered with
	// MethodNotImplementedError.
	Methods map[string]Method
}

// Method is one method of an interface.
type Method struct {
	// ReadOnly marks a method that may be called on a read-only socket.
	ReadOnly bool
	// More says what the method does with the flag more. The zero value is MoreUnsupported.
	More MoreMode
	// Handle answers a call: it sends the replies itself and returns nil, or returns an error, which becomes the reply. It
	// runs in the goroutine of the connection, and must not use the call after it has returned.
	Handle func(ctx context.Context, c *Call) error
}

// MoreMode says what a method does with the flag more.
type MoreMode int

const (
	// MoreUnsupported is a method that always sends one reply.
	MoreUnsupported MoreMode = iota
	// MoreSupported is a method that may send several replies to a call with more, and one otherwise.
	MoreSupported
	// MoreRequired is a method that can only be called with more; other calls are answered with ExpectedMoreError.
	MoreRequired
)

// route is what varlink/go's dispatch knows as an interface. Its Call is used to find ours again.
type route struct{ *served }

func (r *route) VarlinkGetName() string        { return r.Name }
func (r *route) VarlinkGetDescription() string { return r.Description }

// VarlinkDispatch is called by Service.HandleMessage for the methods of the interface.
func (r *route) VarlinkDispatch(_ context.Context, call upstream.Call, _ string) error {
	c, ok := call.Conn.(*routed)
	if !ok {
		return errors.New("varlink: foreign connection in dispatch")
	}
	c.found = r.served
	return nil
}

// routed stands for the connection in varlink/go's dispatch, which answers a method that it does not find; that answer is
// dropped and ours given.
type routed struct{ found *served }

func (r *routed) Write(_ context.Context, reply []byte) (int, error) { return len(reply), nil }

func (r *routed) Read(context.Context, []byte) (int, error) { return 0, ErrClosed }

func (r *routed) ReadBytes(context.Context, byte) ([]byte, error) { return nil, ErrClosed }

// route finds the interface and the method of a call.
func (c *Call) route() error {
	interfaceName, short := splitMethod(c.Method())
	if interfaceName == "" {
		return &InvalidParameterError{Parameter: "method"}
	}
	found, err := c.conn.server.find(&c.ctx, interfaceName, c.Method())
	switch {
	case err != nil:
		return err
	case found == nil:
		return &InterfaceNotFoundError{Interface: interfaceName}
	case found.methods[short] == nil:
		return &MethodNotFoundError{Method: c.Method()}
	}
	c.found, c.method = found, found.Methods[short]
	return nil
}

// find asks varlink/go's dispatch for the interface; it is given the name alone, so that neither the size nor the spelling
// of the parameters matters to it. org.varlink.service, which it would answer itself, is ours.
func (s *Server) find(ctx context.Context, interfaceName, method string) (*served, error) {
	if interfaceName == ServiceInterface {
		return s.interfaces[ServiceInterface], nil
	}
	m := newMessage()
	defer m.put()
	m.WriteString(`{"method":`)
	m.Write(quoted(method))
	m.WriteString(`,"parameters":{}}`)
	r := &routed{}
	err := s.router.HandleMessage(ctx, r, m.Bytes())
	return r.found, err
}

// splitMethod splits a full name at its last dot.
func splitMethod(method string) (interfaceName, short string) {
	i := max(0, strings.LastIndexByte(method, '.'))
	return method[:i], strings.TrimPrefix(method[i:], ".")
}
