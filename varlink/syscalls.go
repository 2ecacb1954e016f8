package varlink

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// kernelDescriptors is the most that Linux passes in one sendmsg.
	kernelDescriptors = 253
	// rightsSize is room for a control message with that many.
	rightsSize = unix.SizeofCmsghdr + 4*(kernelDescriptors+1)
)

// peek looks at the bytes that wait, and says whether descriptors come with some of them. Without room for a control
// message the kernel only notes that there is one, so no descriptor is made.
func peek(fd int, p []byte) (n int, withFiles bool, err error) {
	n, _, withFiles, err = recvmsg(fd, p, nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return n, withFiles, err
}

// receive reads bytes and a control message; truncated says that descriptors were lost.
func receive(fd int, p, oob []byte) (n, oobn int, truncated bool, err error) {
	return recvmsg(fd, p, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
}

// recvmsg is unix.Recvmsg without EINTR, and without the sender's address, which costs an allocation.
func recvmsg(fd int, p, oob []byte, flags int) (n, oobn int, truncated bool, err error) {
	iov := unix.Iovec{Base: unsafe.SliceData(p)}
	iov.SetLen(len(p))
	header := unix.Msghdr{Iov: &iov, Control: unsafe.SliceData(oob)}
	header.SetIovlen(1)
	header.SetControllen(len(oob))
	for {
		r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&header)), uintptr(flags))
		switch errno {
		case 0:
			return int(r), int(header.Controllen), header.Flags&unix.MSG_CTRUNC != 0, nil
		case unix.EINTR:
		default:
			return 0, 0, false, errno
		}
	}
}

// send writes bytes, with a control message if there is one.
func send(fd int, p, oob []byte) (int, error) {
	if len(oob) == 0 {
		return unix.Write(fd, p)
	}
	return unix.SendmsgN(fd, p, oob, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// rights is the control message for files, nil for none. The files must stay open until it is sent.
func rights(files []*os.File) []byte {
	if len(files) == 0 {
		return nil
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	return unix.UnixRights(fds...)
}

// parseRights returns the descriptors of a received control message, those found before an error included.
func parseRights(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	var files []int
	for i := range messages {
		if messages[i].Header.Level != unix.SOL_SOCKET || messages[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, os.NewSyscallError("recvmsg", err)
		}
		files = append(files, fds...)
	}
	return files, nil
}

// closeFiles closes descriptors that nobody took; negative ones were taken.
func closeFiles(files []int) {
	for _, fd := range files {
		if fd >= 0 {
			_ = unix.Close(fd) // received, never used: there is nothing to lose
		}
	}
}

// hungUp says whether the peer has closed both directions or the connection is broken.
func hungUp(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// isHangup says whether err, of a write, means that the peer has gone.
func isHangup(err error) bool {
	return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
}
