package varlink

import (
	"context"
	"fmt"
	"net"
	"sort"
	"sync"
	"time"

	upstream "github.com/varlink/go/varlink"
)

// Defaults of the limits of Server; they are sd-varlink's own where it has one.
const (
	DefaultMaxMessageSize       = 16 << 20
	DefaultMaxConnections       = 4096
	DefaultMaxConnectionsPerUID = 1024
	DefaultMaxDescriptors       = 64
	DefaultMaxPipelined         = 256
	DefaultWriteTimeout         = 30 * time.Second
	DefaultReadTimeout          = 60 * time.Second
)

// Logger takes what a server has to say. A *logrus.Logger and a *logrus.Entry are Loggers. It must be safe for
// concurrent use. No parameters of calls and no replies are ever logged.
type Logger interface {
	Debugf(format string, args ...any)
	Warnf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Server serves Varlink interfaces. The zero value is ready to use. Fields must not be changed, and interfaces not be
// registered, after the first Serve or ServeConn; all methods are safe for concurrent use.
type Server struct {
	// Vendor, Product, Version and URL are what org.varlink.service.GetInfo says of the service.
	Vendor, Product, Version, URL string

	// MaxMessageSize is the most bytes of a message in either direction, its NUL not counted. A client that sends more is
	// closed; a reply that is larger fails with a LimitError. 0: DefaultMaxMessageSize.
	MaxMessageSize int
	// MaxConnections is the most connections at a time; a client beyond is closed at once. 0: DefaultMaxConnections.
	MaxConnections int
	// MaxConnectionsPerUID is the same for the clients of one user. 0: DefaultMaxConnectionsPerUID.
	MaxConnectionsPerUID int
	// MaxDescriptors is the most descriptors that may come with a call; a client that sends more is closed.
	// 0: DefaultMaxDescriptors.
	MaxDescriptors int
	// MaxPipelined is the most calls of a connection that wait in memory for the one before them. Further ones wait in the
	// socket, where they slow their client down. 0: DefaultMaxPipelined.
	MaxPipelined int

	// WriteTimeout is how long a reply waits for a client that does not read; then its connection is closed.
	// 0: DefaultWriteTimeout; negative: no limit.
	WriteTimeout time.Duration
	// ReadTimeout is how long a message may take from its first byte to its NUL. 0: DefaultReadTimeout; negative: no limit.
	ReadTimeout time.Duration
	// IdleTimeout is how long the server waits without a connection before Serve returns ErrIdle. 0: for ever.
	IdleTimeout time.Duration
	// Busy says whether there is work that must go on without a connection, so that an idle exit is not allowed now.
	// nil: there is none. It must not block.
	Busy func() bool

	// Authorize decides whether a call may be made. nil, or a nil error, allows it; another error is the call's reply, such
	// as *PermissionDeniedError. The methods of org.varlink.service are not asked about.
	Authorize func(ctx context.Context, c *Call) error
	// InternalError turns an error without a name on the wire, *PanicError among them, into one that has one. nil, or a nil
	// result: the connection is closed.
	InternalError func(c *Call, err error) error
	// Log is told of panics, failed accepts and closed connections. nil: nobody is.
	Log Logger

	once       sync.Once
	router     *upstream.Service
	interfaces map[string]*served
	targets    map[string]*target // by full method name
	initErr    error

	base   context.Context // ends, with ErrServerClosed, when the server closes
	cancel context.CancelCauseFunc

	// mu guards what follows.
	mu        sync.Mutex
	listeners map[*listening]struct{}
	conns     map[*serverConn]struct{}
	perUID    map[uint32]int
	closing   bool
	idle      idleState
	running   sync.WaitGroup // connections
}

// served is a registered interface.
type served struct {
	Interface
	*description
}

// init prepares a zero Server.
func (s *Server) init() error {
	s.once.Do(func() {
		s.base, s.cancel = context.WithCancelCause(context.Background())
		s.listeners = make(map[*listening]struct{})
		s.conns = make(map[*serverConn]struct{})
		s.perUID = make(map[uint32]int)
		s.interfaces = make(map[string]*served)
		s.targets = make(map[string]*target)
		s.idle.cond.L = &s.mu
		if s.router, s.initErr = upstream.NewService("", "", "", ""); s.initErr == nil {
			s.initErr = s.register(s.serviceInterface())
		}
	})
	return s.initErr
}

// Register adds an interface. It fails when the description cannot be parsed, is of another interface, or lacks one of
// the methods, and when the interface is registered already.
func (s *Server) Register(i Interface) error {
	if err := s.init(); err != nil {
		return err
	}
	return s.register(i)
}

func (s *Server) register(i Interface) error {
	d, err := parseDescription(i.Description)
	if err != nil {
		return err
	}
	if d.name != i.Name {
		return fmt.Errorf("varlink: %s: the description is of %s", i.Name, d.name)
	}
	for name, m := range i.Methods {
		if d.methods[name] == nil || m.Handle == nil {
			return fmt.Errorf("varlink: %s.%s: not in the description, or without a handler", i.Name, name)
		}
	}
	if _, double := s.interfaces[i.Name]; double {
		return fmt.Errorf("varlink: %s: registered already", i.Name)
	}
	entry := &served{Interface: i, description: d}
	if i.Name != ServiceInterface {
		if err := s.router.RegisterInterface(&route{entry}); err != nil {
			return fmt.Errorf("varlink: %w", err)
		}
	}
	s.interfaces[i.Name] = entry
	return s.addTargets(entry)
}

// interfaceNames is the sorted list for GetInfo.
func (s *Server) interfaceNames() []string {
	names := make([]string, 0, len(s.interfaces))
	for name := range s.interfaces {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// limits is what a connection's wire must hold to.
func (s *Server) limits() wireLimits {
	return wireLimits{
		message:     orDefault(s.MaxMessageSize, DefaultMaxMessageSize),
		descriptors: orDefault(s.MaxDescriptors, DefaultMaxDescriptors),
		pipelined:   orDefault(s.MaxPipelined, DefaultMaxPipelined),
		stall:       max(0, orDefault(s.ReadTimeout, DefaultReadTimeout)),
	}
}

func (s *Server) writeTimeout() time.Duration {
	return max(0, orDefault(s.WriteTimeout, DefaultWriteTimeout))
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// ServeConn serves one connected client until it has gone, and closes conn. The options are those of the socket that the
// client connected to. The error is nil after the client's own end, ErrServerClosed after Shutdown or Close, and a
// *LimitError when there are too many connections.
func (s *Server) ServeConn(conn *net.UnixConn, opts ...ListenOption) error {
	var l listening
	for _, o := range opts {
		o(&l)
	}
	c, err := s.admit(conn, l.readOnly)
	if err != nil {
		_ = conn.Close() // refused; nothing was exchanged
		return err
	}
	c.serve()
	if s.base.Err() != nil {
		return ErrServerClosed
	}
	return nil
}

// Shutdown stops accepting, closes idle connections, cancels running calls with the cause ErrServerClosed, and waits until
// they have been answered. When ctx ends first it closes all connections and returns the cause; a handler that ignores
// its context may then still run.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.init(); err != nil {
		return err
	}
	s.stop()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.closeConns()
		return context.Cause(ctx)
	}
}

// Close stops accepting and closes all connections at once, calls in progress included, and waits for nobody.
func (s *Server) Close() error {
	if err := s.init(); err != nil {
		return err
	}
	s.stop()
	s.closeConns()
	return nil
}

// stop is what Shutdown and Close have in common.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.cancel(ErrServerClosed)
	s.idle.stopTimer()
	for l := range s.listeners {
		_ = l.Close() // Serve reports what matters
	}
	for c := range s.conns {
		c.shutdown()
	}
	s.idle.cond.Broadcast()
}

func (s *Server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.wire.close() // its goroutine notices and ends
	}
}

// logger is never nil.
func (s *Server) logger() Logger {
	if s.Log == nil {
		return silent{}
	}
	return s.Log
}

type silent struct{}

func (silent) Debugf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
