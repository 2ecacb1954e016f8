package wire_test

import "golang.org/x/sys/unix"

// hungUp tells whether the other end has closed a connection, without reading what it sent before.
func hungUp(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLHUP != 0
}
