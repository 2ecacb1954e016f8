package daemon

import (
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
)

// Nobody is a user of the machine who is neither root nor the daemon's own.
const Nobody = 65534

// DialAs connects to a socket as another user, until the test ends.
func DialAs(t testing.TB, path string, uid int) (*Conn, error) {
	t.Helper()
	fd, err := connectAs(path, uid)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	defer func() { _ = file.Close() }()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	return NewConn(conn.(*net.UnixConn)), nil
}

// connectAs connects with the credentials of another user, which one thread takes on for as long as that takes.
func connectAs(path string, uid int) (int, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := effectiveUser(uid); err != nil {
		return -1, err
	}
	err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
	if back := effectiveUser(os.Getuid()); back != nil {
		panic(back) // a thread of the test that is not root's any more
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// effectiveUser changes the calling thread alone, as the raw system call does; package syscall's own changes them all.
func effectiveUser(uid int) error {
	const same = ^uintptr(0)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
		return errno
	}
	return nil
}
