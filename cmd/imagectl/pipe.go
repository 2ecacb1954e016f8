package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// end is what works at one end of a pipe.
type end = func(ctx context.Context, f *os.File) error

// pipe lets produce write into a pipe that consume reads from. The first failure counts: a pipe broken by one end makes
// the other fail too, and neither takes the other's failure for the end of the data, as both ends stay open
// here until it is known how their users ended.
func pipe(ctx context.Context, produce, consume end) error {
	r, w, err := newPipe()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	produced, consumed := run(ctx, produce, w), run(ctx, consume, r)
	select {
	case err := <-produced:
		if err != nil {
			cancel()
		}
		closeQuietly(w)
		consumeErr := <-consumed
		closeQuietly(r)
		if err != nil {
			return err
		}
		return consumeErr
	case err := <-consumed:
		if err != nil {
			cancel()
		}
		closeQuietly(r)
		// All that was wanted has come. That its producer cannot write more is no failure.
		<-produced
		closeQuietly(w)
		return err
	}
}

func run(ctx context.Context, f end, file *os.File) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f(ctx, file) }()
	return done
}

// newPipe makes a pipe that blocks, as other programs expect of one that is passed to them.
func newPipe() (r, w *os.File, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	return os.NewFile(uintptr(ends[0]), "pipe"), os.NewFile(uintptr(ends[1]), "pipe"), nil
}

// pass passes a file's descriptor along with the next call, and gives the index that the call names it by. The file
// stays the caller's.
func (s *session) pass(f *os.File) (*int64, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("descriptor of %s: %w", f.Name(), err)
	}
	return new(s.client.PushFile(os.NewFile(uintptr(fd), f.Name()))), nil
}
