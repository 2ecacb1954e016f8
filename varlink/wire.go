package varlink

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readBuffer is the size of the buffer in which most messages fit; an idle connection holds none.
	readBuffer = 4096
	// keepBuffer is the size above which an empty buffer is given to the garbage collector.
	keepBuffer = 64 << 10
	// kernelDescriptors is the most that Linux passes in one sendmsg.
	kernelDescriptors = 253
)

// buffers holds read buffers of readBuffer bytes.
var buffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// wireLimits bounds what a peer can make a wire hold.
type wireLimits struct {
	message     int           // bytes of a message without its NUL, both directions
	descriptors int           // descriptors of a message
	pipelined   int           // complete messages that wait in the buffer
	stall       time.Duration // first byte to NUL of a message; 0: no limit
}

// wire is one end of a connection: messages with their descriptors over a stream socket. One goroutine may read and one
// may write at a time.
type wire struct {
	conn   *net.UnixConn
	raw    syscall.RawConn
	limits wireLimits

	// The buffer holds unread bytes from start to end; there is no NUL in start..scanned. It is the only one, before
	// and after an upgrade.
	buf                 []byte
	start, end, scanned int
	// files belong to the message that begins at start.
	files []int

	readErr         error
	readFunc        func(fd uintptr) bool
	stalling        bool
	setReadDeadline func(time.Time) error // the connection's own, or one that a closing server overrides
	out, outRights  []byte
	outWritten      int
	outErr          error
	outWait         bool
	writeFunc       func(fd uintptr) bool
	closeOnce       sync.Once
	closeErr        error
}

// newWire takes over conn.
func newWire(conn *net.UnixConn, limits wireLimits) (*wire, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{conn: conn, raw: raw, limits: limits, setReadDeadline: conn.SetReadDeadline}
	w.readFunc, w.writeFunc = w.tryRead, w.tryWrite
	return w, nil
}

// close closes the connection, and nothing else: the reader releases what it holds.
func (w *wire) close() error {
	w.closeOnce.Do(func() { w.closeErr = w.conn.Close() })
	return w.closeErr
}

// release gives up the buffer and the descriptors. Only the goroutine that reads may call it.
func (w *wire) release() {
	closeFiles(w.files)
	w.files = nil
	w.freeBuffer()
}

// readMessage returns the next message without its NUL, valid until the next read, and its descriptors, which are the
// caller's. The error is io.EOF after the last whole message.
func (w *wire) readMessage() ([]byte, []int, error) {
	for {
		if i := bytes.IndexByte(w.buf[w.scanned:w.end], 0); i >= 0 {
			return w.cut(w.scanned + i)
		}
		w.scanned = w.end
		if w.end-w.start > w.limits.message {
			return nil, nil, &LimitError{Limit: "MaxMessageSize", Value: int64(w.limits.message)}
		}
		if err := w.fill(); err != nil {
			return nil, nil, err
		}
	}
}

// cut takes the message that ends at nul out of the buffer.
func (w *wire) cut(nul int) ([]byte, []int, error) {
	message, files := w.buf[w.start:nul], w.files
	w.start, w.scanned, w.files = nul+1, nul+1, nil
	if w.stalling {
		w.stalling = false
		if err := w.setReadDeadline(time.Time{}); err != nil {
			closeFiles(files)
			return nil, nil, err
		}
	}
	if len(message) > w.limits.message {
		closeFiles(files)
		return nil, nil, &LimitError{Limit: "MaxMessageSize", Value: int64(w.limits.message)}
	}
	return message, files, nil
}

// fill waits for bytes and appends them to the buffer.
func (w *wire) fill() error {
	if w.end > w.start && !w.stalling && w.limits.stall > 0 {
		w.stalling = true
		if err := w.setReadDeadline(time.Now().Add(w.limits.stall)); err != nil {
			return err
		}
	}
	w.readErr = nil
	if err := w.raw.Read(w.readFunc); err != nil {
		return err
	}
	return w.readErr
}

// tryRead is fill's attempt on the descriptor; false waits until there is something to read. It looks first, since a
// read could not tell which of several messages the descriptors came with.
func (w *wire) tryRead(fd uintptr) bool {
	w.makeRoom()
	room := w.buf[w.end:min(len(w.buf), w.end+w.limits.message)]
	n, _, flags, err := recvmsg(int(fd), room, nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case err == unix.EAGAIN:
		if w.start == w.end {
			w.freeBuffer()
		}
		return false
	case err != nil:
		w.readErr = os.NewSyscallError("recvmsg", err)
	case n == 0:
		w.readErr = io.EOF
		if w.start != w.end {
			w.readErr = io.ErrUnexpectedEOF
		}
	case flags&unix.MSG_CTRUNC != 0:
		w.readErr = w.takeWithFiles(int(fd), room[:n])
	default:
		w.readErr = w.take(int(fd), room[:w.pipelineLimit(room[:n])])
	}
	return true
}

// pipelineLimit is how much of the waiting bytes to take so that no more than the allowed number of messages wait in
// memory; the others wait in the socket.
func (w *wire) pipelineLimit(waiting []byte) int {
	if bytes.Count(waiting, []byte{0}) <= w.limits.pipelined {
		return len(waiting)
	}
	end := 0
	for range w.limits.pipelined {
		end += bytes.IndexByte(waiting[end:], 0) + 1
	}
	return end
}

// take reads bytes that were seen to have no descriptors.
func (w *wire) take(fd int, into []byte) error {
	n, _, _, err := recvmsg(fd, into, nil, unix.MSG_DONTWAIT)
	if err != nil {
		return os.NewSyscallError("recvmsg", err)
	}
	w.end += n
	return nil
}

// takeWithFiles reads no further than the end of the first message among the bytes that were seen, so that the
// descriptors that come with them are that message's.
func (w *wire) takeWithFiles(fd int, seen []byte) error {
	if i := bytes.IndexByte(seen, 0); i >= 0 {
		seen = seen[:i+1]
	}
	oob := make([]byte, unix.CmsgSpace(4*kernelDescriptors))
	n, oobn, flags, err := recvmsg(fd, seen, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("recvmsg", err)
	}
	w.end += n
	files, err := parseRights(oob[:oobn])
	w.files = append(w.files, files...)
	if err != nil {
		return err
	}
	if len(w.files) > w.limits.descriptors || flags&unix.MSG_CTRUNC != 0 {
		return &LimitError{Limit: "MaxDescriptors", Value: int64(w.limits.descriptors)}
	}
	return nil
}

// makeRoom gives the buffer at least one free byte.
func (w *wire) makeRoom() {
	if w.start == w.end {
		w.start, w.end, w.scanned = 0, 0, 0
		if len(w.buf) > keepBuffer {
			w.buf = nil
		}
	}
	switch {
	case w.buf == nil:
		w.buf = buffers.Get().(*[readBuffer]byte)[:]
	case w.end < len(w.buf):
	case w.start > 0:
		copy(w.buf, w.buf[w.start:w.end])
		w.end, w.scanned, w.start = w.end-w.start, w.scanned-w.start, 0
	default:
		grown := make([]byte, min(2*len(w.buf), w.limits.message+readBuffer))
		copy(grown, w.buf[:w.end])
		w.freeBuffer()
		w.buf = grown
	}
}

// freeBuffer puts a small buffer back for others.
func (w *wire) freeBuffer() {
	if len(w.buf) == readBuffer {
		buffers.Put((*[readBuffer]byte)(w.buf))
	}
	w.buf = nil
}

// buffered takes at most len(p) bytes that were read but not used.
func (w *wire) buffered(p []byte) int {
	n := copy(p, w.buf[w.start:w.end])
	w.start += n
	w.scanned = max(w.scanned, w.start)
	if w.start == w.end {
		w.freeBuffer()
		w.start, w.end, w.scanned = 0, 0, 0
	}
	return n
}

// write sends a whole message with its descriptors. It tries at once, and only when the socket is full waits for at most
// timeout (0: for ever).
func (w *wire) write(message []byte, files []*os.File, timeout time.Duration) error {
	w.out, w.outRights, w.outWritten, w.outErr, w.outWait = message, rights(files), 0, nil, false
	if err := w.raw.Write(w.writeFunc); err != nil {
		return err
	}
	if w.outErr != nil || w.outWritten == len(message) {
		return w.outErr
	}
	if timeout > 0 {
		if err := w.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
	}
	w.outWait = true
	err := w.raw.Write(w.writeFunc)
	if err == nil {
		err = w.outErr
	}
	if err == nil && timeout > 0 {
		err = w.conn.SetWriteDeadline(time.Time{})
	}
	return err
}

// tryWrite is write's attempt on the descriptor; false waits until the socket takes more.
func (w *wire) tryWrite(fd uintptr) bool {
	for w.outWritten < len(w.out) {
		n, err := unix.SendmsgN(int(fd), w.out[w.outWritten:], w.outRights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return !w.outWait
		case err != nil:
			w.outErr = os.NewSyscallError("sendmsg", err)
			return true
		default:
			w.outWritten += n
			w.outRights = nil
		}
	}
	return true
}

// recvmsg is unix.Recvmsg without EINTR and without the sender's address.
func recvmsg(fd int, p, oob []byte, flags int) (n, oobn, recvflags int, err error) {
	for {
		n, oobn, recvflags, _, err = unix.Recvmsg(fd, p, oob, flags)
		if err != unix.EINTR {
			return max(n, 0), oobn, recvflags, err
		}
	}
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
