package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/varlink"
)

// The FileDescriptorNames of the sockets to serve: readOnlyName is one whose clients may only read. What has another name
// is served fully if no socket has one of these.
const (
	fullName     = "varlink"
	readOnlyName = "varlink-ro"
)

func isNamed(p varlink.ActivationSocket) bool { return p.Name == fullName || p.Name == readOnlyName }

// sockets are what the daemon serves.
type sockets struct {
	full, readOnly []*net.UnixListener
	connected      []varlink.ActivationSocket
	activated      bool
}

// open takes the sockets of an activation, or binds those that the flags name.
func open(o options) (s sockets, err error) {
	passed, err := varlink.ActivationSockets()
	if err != nil {
		return s, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	named := slices.ContainsFunc(passed, isNamed)
	for _, p := range passed {
		s.activated = true
		switch {
		case named && !isNamed(p):
			logrus.Warnf("the passed socket %q is not served: others are named %s or %s", p.Name, fullName, readOnlyName)
			p.Close()
		case p.Conn != nil:
			s.connected = append(s.connected, p)
		case p.Name == readOnlyName:
			s.readOnly = append(s.readOnly, p.Listener)
		default:
			s.full = append(s.full, p.Listener)
		}
	}
	if !s.activated && len(o.addresses)+len(o.readOnlyAddresses) == 0 {
		o.addresses = []string{defaultAddress()}
	}
	if err := s.bind(o.addresses, 0o600, &s.full); err != nil {
		return s, err
	}
	return s, s.bind(o.readOnlyAddresses, 0o666, &s.readOnly)
}

func (s *sockets) bind(addresses []string, mode os.FileMode, to *[]*net.UnixListener) error {
	for _, a := range addresses {
		l, err := varlink.Listen(a, mode)
		if errors.Is(err, varlink.ErrAddress) {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		if err != nil {
			return err
		}
		*to = append(*to, l)
		logrus.Infof("listening on %s", a)
	}
	return nil
}

// close closes what the server has not closed yet, before the process ends.
func (s *sockets) close() {
	for _, l := range append(s.full, s.readOnly...) {
		_ = l.Close()
	}
	for _, c := range s.connected {
		_ = c.Conn.Close()
	}
}

// defaultAddress is where the daemon is found: the system's for root, else the user's own.
func defaultAddress() string {
	if engine.User() == 0 {
		return "unix:/run/imaged/imaged.sock"
	}
	return "unix:" + filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "imaged", "imaged.sock")
}

// serve serves all sockets until the server is shut down or idle, or, with connected ones only, until they are gone.
func serve(server *varlink.Server, s sockets) error {
	var all errgroup.Group
	for _, c := range s.connected {
		var opts []varlink.ListenOption
		if c.Name == readOnlyName {
			opts = append(opts, varlink.ReadOnly())
		}
		all.Go(func() error { return ended(server.ServeConn(c.Conn, opts...)) })
	}
	for _, l := range s.full {
		all.Go(func() error { return ended(server.Serve(l)) })
	}
	for _, l := range s.readOnly {
		all.Go(func() error { return ended(server.Serve(l, varlink.ReadOnly())) })
	}
	return all.Wait()
}

// ended tells the ends that were asked for from failures.
func ended(err error) error {
	if errors.Is(err, varlink.ErrServerClosed) || errors.Is(err, varlink.ErrIdle) {
		return nil
	}
	return err
}
