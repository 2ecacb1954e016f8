package spool

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// waitingReader reads from a pipe or socket and gives up when its context ends. It does not make the descriptor
// non-blocking: the program at the other copy of it would see that.
type waitingReader struct {
	ctx          context.Context // of the one call that it serves
	conn         syscall.RawConn
	wake, waking *os.File // a pipe whose writing end is closed when the context ends
	stop         func() bool
}

func newWaitingReader(ctx context.Context, f *os.File) (*waitingReader, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	wake, waking, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r := &waitingReader{ctx: ctx, conn: conn, wake: wake, waking: waking}
	r.stop = context.AfterFunc(ctx, func() { _ = waking.Close() }) // a pipe's end cannot fail to close
	return r, nil
}

func (r *waitingReader) close() {
	if r.stop() {
		_ = r.waking.Close()
	}
	_ = r.wake.Close()
}

// Read waits for bytes or for the end of the context, and reads.
func (r *waitingReader) Read(p []byte) (n int, err error) {
	for {
		if r.ctx.Err() != nil {
			return 0, &errdefs.Cancelled{Err: context.Cause(r.ctx)}
		}
		if e := r.conn.Control(func(fd uintptr) { n, err = r.readOnce(int(fd), p) }); e != nil {
			return 0, e
		}
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// readOnce waits and reads if there is something to read.
func (r *waitingReader) readOnce(fd int, p []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(r.wake.Fd()), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, -1); err != nil {
		return 0, err
	}
	if fds[1].Revents != 0 {
		return 0, unix.EAGAIN // the context has ended
	}
	return unix.Read(fd, p)
}
