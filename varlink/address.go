package varlink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// parseAddress takes "unix:/path" or "unix:@abstract" apart; what follows a semicolon is ignored, as other
// implementations do.
func parseAddress(address string) (*net.UnixAddr, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	path, _, _ = strings.Cut(path, ";")
	switch {
	case !ok:
		return nil, fmt.Errorf("varlink: %w %q: does not begin with \"unix:\"", ErrAddress, address)
	case path == "" || path == "@":
		return nil, fmt.Errorf("varlink: %w %q: no path", ErrAddress, address)
	case len(path) > maxPath:
		return nil, fmt.Errorf("varlink: %w %q: path is longer than %d bytes", ErrAddress, address, maxPath)
	}
	return &net.UnixAddr{Name: path, Net: "unix"}, nil
}

// isAbstract tells whether a socket's address is abstract; that of a socket without any is a lone @.
func isAbstract(name string) bool { return len(name) > 1 && name[0] == '@' }

// maxPath is what fits into a socket address with its NUL.
const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// Listen makes a listening socket at address, "unix:/path" or "unix:@abstract". The socket has mode from its first
// instant; missing parent directories are made with mode 0700. A socket that nobody listens on any more is replaced; one
// that is alive, or anything else at the path, is an error. The path is removed when the listener is closed. A lock file,
// the path with .lock appended, orders daemons that start at the same time; it stays. For an abstract address, which has no
// mode, mode is ignored.
func Listen(address string, mode os.FileMode) (*net.UnixListener, error) {
	addr, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	if addr.Name[0] == '@' {
		l, err := net.ListenUnix("unix", addr)
		if err != nil {
			return nil, fmt.Errorf("varlink: %w", err)
		}
		return l, nil
	}
	if err := os.MkdirAll(filepath.Dir(addr.Name), 0o700); err != nil {
		return nil, fmt.Errorf("varlink: socket directory: %w", err)
	}
	lock, err := lockPath(addr.Name + ".lock")
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }() // ends the lock; nothing was written
	if err := removeStale(addr); err != nil {
		return nil, err
	}
	return listenMode(addr, mode.Perm())
}

// lockPath takes the lock that orders daemons; it is held for as long as it takes to look and bind.
func lockPath(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("varlink: socket lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("varlink: socket lock %s: %w", path, err), f.Close())
		}
	}
}

// removeStale removes a socket that nobody listens on.
func removeStale(addr *net.UnixAddr) error {
	info, err := os.Lstat(addr.Name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("varlink: socket: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("varlink: %s: exists and is not a socket", addr.Name)
	}
	conn, err := net.DialUnix("unix", nil, addr)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("varlink: %s: another process is listening there", addr.Name), conn.Close())
	case !errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("varlink: socket: %w", err)
	}
	if err := os.Remove(addr.Name); err != nil {
		return fmt.Errorf("varlink: stale socket: %w", err)
	}
	return nil
}

// listenMode binds and listens. The mode is set on the socket before it has a name: Linux takes it, less the umask, for
// the file. What the umask took away is given back afterwards.
func listenMode(addr *net.UnixAddr, mode os.FileMode) (*net.UnixListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctl := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode)) })
		return errors.Join(ctl, err)
	}}
	l, err := config.Listen(context.Background(), "unix", addr.Name)
	if err != nil {
		return nil, fmt.Errorf("varlink: %w", err)
	}
	unixListener := l.(*net.UnixListener)
	if err := os.Chmod(addr.Name, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("varlink: socket mode: %w", err), l.Close())
	}
	return unixListener, nil
}
