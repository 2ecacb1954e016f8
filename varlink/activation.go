package varlink

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// ActivationSocket is a socket that the service manager handed over.
type ActivationSocket struct {
	// Name is what the manager calls it, FileDescriptorName= in a unit; "" when it gave none.
	Name string
	// Listener is set for a listening socket. Closing it removes nothing from the file system.
	Listener *net.UnixListener
	// Conn is set for a connected socket: Accept=yes, or a client that started this process for itself.
	Conn *net.UnixConn
}

// ActivationOption changes what ActivationSockets accepts.
type ActivationOption func(*activationOptions)

type activationOptions struct{ anyProcess bool }

// AnyProcess accepts sockets although LISTEN_PID is another process's: for a program that executed itself again as a child
// after the manager had started it, and kept the descriptors open.
func AnyProcess() ActivationOption {
	return func(o *activationOptions) { o.anyProcess = true }
}

// maxActivation is more sockets than anybody hands over, and few enough to look at each.
const maxActivation = 1024

// ActivationSockets returns the sockets that were passed by the LISTEN_FDS protocol of systemd, in their order; none if
// there are none for this process. The variables are removed from the environment, and the descriptors are not inherited by
// child processes. An error means that something other than a Unix stream socket was passed; all descriptors are closed
// then. It can be called once.
func ActivationSockets(opts ...ActivationOption) ([]ActivationSocket, error) {
	var o activationOptions
	for _, opt := range opts {
		opt(&o)
	}
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || count < 0 || count > maxActivation {
		_ = os.Setenv("LISTEN_FDS", "0") // cannot fail for such a name and value
	}
	if !o.anyProcess && !sameProcess(os.Getenv("LISTEN_PIDFDID")) {
		_ = os.Setenv("LISTEN_FDS", "0")
	}
	_ = os.Unsetenv("LISTEN_PIDFDID") // its package knows nothing of it
	if o.anyProcess {
		_ = os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	var sockets []ActivationSocket
	var errs []error
	for i, f := range activation.Files(true) {
		s, err := activationSocket(f)
		if i < len(names) {
			s.Name = names[i]
		}
		sockets = append(sockets, s)
		errs = append(errs, err, f.Close()) // s has its own copy
	}
	if err := errors.Join(errs...); err != nil {
		for _, s := range sockets {
			s.Close()
		}
		return nil, err
	}
	return sockets, nil
}

// sameProcess tells whether the number of a pidfd is this process's: its id may have been another's before. Without a
// number, or on a kernel whose pidfds have none, it is.
func sameProcess(number string) bool {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if number == "" || err != nil {
		return true
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	var system unix.Statfs_t
	var status unix.Stat_t
	if unix.Fstatfs(fd, &system) != nil || system.Type != unix.PID_FS_MAGIC || unix.Fstat(fd, &status) != nil {
		return true
	}
	return number == strconv.FormatUint(status.Ino, 10)
}

// activationSocket tells a listening socket from a connected one.
func activationSocket(f *os.File) (ActivationSocket, error) {
	subject := fmt.Sprintf("varlink: passed descriptor %d", f.Fd())
	kind, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_TYPE)
	if err == nil && kind != unix.SOCK_STREAM {
		err = errors.New("not a stream socket")
	}
	if err != nil {
		return ActivationSocket{}, fmt.Errorf("%s: %w", subject, err)
	}
	listens, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return ActivationSocket{}, fmt.Errorf("%s: %w", subject, err)
	}
	if listens != 0 {
		l, err := net.FileListener(f)
		if err != nil {
			return ActivationSocket{}, fmt.Errorf("%s: %w", subject, err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
			return ActivationSocket{Listener: u}, nil
		}
		return ActivationSocket{}, errors.Join(fmt.Errorf("%s: not a Unix socket", subject), l.Close())
	}
	c, err := net.FileConn(f)
	if err != nil {
		return ActivationSocket{}, fmt.Errorf("%s: %w", subject, err)
	}
	if u, ok := c.(*net.UnixConn); ok {
		return ActivationSocket{Conn: u}, nil
	}
	return ActivationSocket{}, errors.Join(fmt.Errorf("%s: not a Unix socket", subject), c.Close())
}

// Close closes the socket, for one that is not to be served.
func (s ActivationSocket) Close() {
	if s.Listener != nil {
		_ = s.Listener.Close() // given up
	}
	if s.Conn != nil {
		_ = s.Conn.Close()
	}
}
