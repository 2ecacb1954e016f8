package varlink

import (
	"context"
	"errors"
	"fmt"
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

// target is where a method's calls go.
type target struct {
	in *schema
	Method
	service bool // of org.varlink.service
}

// route finds the target of a call.
func (c *Call) route() error {
	if c.target = c.conn.server.targets[c.Method()]; c.target != nil {
		return nil
	}
	interfaceName := interfaceOf(c.Method())
	if interfaceName == "" {
		return &InvalidParameterError{Parameter: "method"}
	}
	found, err := c.conn.server.find(interfaceName, c.Method())
	switch {
	case err != nil:
		return err
	case found == nil:
		return &InterfaceNotFoundError{Interface: interfaceName}
	}
	return &MethodNotFoundError{Method: c.Method()}
}

// find asks varlink/go's dispatch for the interface; it is given the name alone, so that neither the size nor the spelling
// of the parameters matters to it. org.varlink.service, which it would answer itself, is ours.
func (s *Server) find(interfaceName, method string) (*served, error) {
	if interfaceName == ServiceInterface {
		return s.interfaces[ServiceInterface], nil
	}
	m := newMessage()
	defer m.put()
	m.WriteString(`{"method":`)
	m.Write(quoted(method))
	m.WriteString(`,"parameters":{}}`)
	r := &routed{}
	err := s.router.HandleMessage(s.base, r, m.Bytes())
	return r.found, err
}

// addTargets routes the interface's methods once and for all, since a dispatch costs as much as a short call.
func (s *Server) addTargets(i *served) error {
	for short := range i.methods {
		name := i.Name + "." + short
		found, err := s.find(i.Name, name)
		if err != nil || found != i {
			return fmt.Errorf("varlink: %s: dispatch: %w", name, errors.Join(err, &MethodNotFoundError{Method: name}))
		}
		s.targets[name] = i.target(short)
	}
	return nil
}

func (i *served) target(short string) *target {
	return &target{in: i.methods[short], Method: i.Methods[short], service: i.Name == ServiceInterface}
}

// interfaceOf is a method's full name up to its last dot, "" if there is none.
func interfaceOf(method string) string { return method[:max(0, strings.LastIndexByte(method, '.'))] }
