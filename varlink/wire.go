package varlink

import (
	"bytes"
	"errors"
	"fmt"
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
	// largeBuffer is the size of the next larger one, in which a page of a long list fits. Those that are larger still are
	// made for one message.
	largeBuffer = 128 << 10
)

// Buffers that nobody reads into.
var (
	buffers      = sync.Pool{New: func() any { return new([readBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

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
	oob   []byte // for control messages; nil before the first

	single   bool // no more than one message can be waiting
	stalling bool // the deadline of a message that has begun is set
	// setReadDeadline is the connection's, or one that a closing server overrides.
	setReadDeadline func(time.Time) error
	readFunc        func(fd uintptr) bool // tryRead
	readErr         error                 // its result

	writeFunc  func(fd uintptr) bool // tryWrite
	out        []byte                // its message
	outRights  []byte                // its descriptors
	outWritten int                   // its result
	outErr     error                 // its result
	outWait    bool                  // whether it may wait

	closeOnce sync.Once
	closeErr  error
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
	if err := w.raw.Read(w.readFunc); err != nil {
		return err
	}
	if errors.Is(w.readErr, io.EOF) && w.end > w.start {
		return io.ErrUnexpectedEOF
	}
	return w.readErr
}

// tryRead is fill's attempt on the descriptor; false waits until there is something to read. Where several messages may be
// waiting it looks first, since a read could not tell which of them the descriptors came with.
func (w *wire) tryRead(fd uintptr) bool {
	w.makeRoom()
	room := w.buf[w.end:min(len(w.buf), w.end+w.limits.message)]
	if w.single {
		w.readErr = w.takeWithFiles(int(fd), room)
		return w.readable(w.readErr)
	}
	n, withFiles, err := peek(int(fd), room)
	switch {
	case err != nil || n == 0:
		w.readErr = readError(n, err)
	case withFiles:
		w.readErr = w.takeWithFiles(int(fd), toNUL(room[:n]))
	default:
		w.readErr = w.take(int(fd), room[:w.pipelineLimit(room[:n])])
	}
	return w.readable(w.readErr)
}

// readable is false for an error that says that there is nothing to read yet. Then an empty buffer is not kept.
func (w *wire) readable(err error) bool {
	if !errors.Is(err, unix.EAGAIN) {
		return true
	}
	if w.start == w.end {
		w.freeBuffer()
	}
	return false
}

// readError is the error of a system call that read n bytes.
func readError(n int, err error) error {
	switch {
	case errors.Is(err, unix.EAGAIN):
		return unix.EAGAIN
	case err != nil:
		return os.NewSyscallError("recvmsg", err)
	case n == 0:
		return io.EOF
	}
	return nil
}

// toNUL is the part of the waiting bytes that belongs to their first message.
func toNUL(waiting []byte) []byte {
	if i := bytes.IndexByte(waiting, 0); i >= 0 {
		return waiting[:i+1]
	}
	return waiting
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
	n, err := unix.Read(fd, into)
	w.end += max(n, 0)
	return readError(n, err)
}

// takeWithFiles reads bytes of one message, and the descriptors that come with them, which must be with its first.
func (w *wire) takeWithFiles(fd int, into []byte) error {
	begun := w.end > w.start
	if w.oob == nil {
		w.oob = make([]byte, rightsSize)
	}
	n, oobn, truncated, err := receive(fd, into, w.oob)
	if n == 0 || err != nil {
		return readError(n, err)
	}
	w.end += n
	if oobn > 0 {
		files, err := parseRights(w.oob[:oobn])
		w.files = append(w.files, files...)
		if err == nil && begun {
			err = fmt.Errorf("%w: descriptors after its beginning", errMalformed)
		}
		if err != nil {
			return err
		}
	}
	if len(w.files) > w.limits.descriptors || truncated {
		return &LimitError{Limit: "MaxDescriptors", Value: int64(w.limits.descriptors)}
	}
	return nil
}

// makeRoom gives the buffer at least one free byte.
func (w *wire) makeRoom() {
	if w.start == w.end {
		w.start, w.end, w.scanned = 0, 0, 0
		if len(w.buf) > largeBuffer {
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
		grown := w.larger()
		copy(grown, w.buf[:w.end])
		w.freeBuffer()
		w.buf = grown
	}
}

// larger returns a buffer that is larger than the one there is.
func (w *wire) larger() []byte {
	most := w.limits.message + readBuffer
	if len(w.buf) < largeBuffer && largeBuffer <= most {
		return largeBuffers.Get().(*[largeBuffer]byte)[:]
	}
	return make([]byte, min(2*len(w.buf), most))
}

// freeBuffer puts the buffer back for others.
func (w *wire) freeBuffer() {
	switch len(w.buf) {
	case readBuffer:
		buffers.Put((*[readBuffer]byte)(w.buf))
	case largeBuffer:
		largeBuffers.Put((*[largeBuffer]byte)(w.buf))
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
	defer func() { w.out = nil }() // an idle connection must not hold it
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
		n, err := send(int(fd), w.out[w.outWritten:], w.outRights)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
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
