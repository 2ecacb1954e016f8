// Package checked lets a stream be looked at while someone else reads it.
//
// Package engine and those below it may import it, nothing else may.
package checked

import (
	"context"
	"errors"
	"io"
	"sync"
)

// errAbandoned ends the check of a stream that nobody reads to its end.
var errAbandoned = errors.New("the stream was not read to its end")

// reader is a stream that is checked while it is read.
type reader struct {
	body  io.ReadCloser
	feed  *io.PipeWriter
	stop  context.CancelFunc
	done  sync.WaitGroup
	err   error // of the check, once done
	ended bool  // the check was waited for
	ahead bool  // the check is waited for at each piece
}

// New returns a reader of body that gives check the same bytes, in a goroutine of its own. Check has to read all of them
// unless it fails; whoever reads then gets its error, before the end of the body at the latest. The reader owns body, and
// is for one goroutine. Closing it ends the check's context, waits for the check, and closes body.
func New(ctx context.Context, body io.ReadCloser, check func(context.Context, io.Reader) error) io.ReadCloser {
	return start(ctx, body, check, false)
}

// Ahead is like New, but whoever reads gets no bytes that check has not taken in: what they make it fail for does no harm.
func Ahead(ctx context.Context, body io.ReadCloser, check func(context.Context, io.Reader) error) io.ReadCloser {
	return start(ctx, body, check, true)
}

func start(ctx context.Context, body io.ReadCloser, check func(context.Context, io.Reader) error, ahead bool) *reader {
	ctx, stop := context.WithCancel(ctx)
	out, feed := io.Pipe()
	r := &reader{body: body, feed: feed, stop: stop, ahead: ahead}
	r.done.Go(func() {
		r.err = check(ctx, out)
		_ = out.CloseWithError(r.err) // nil: later writes fail, but there are none
	})
	return r
}

// Read reads on, and lets the check read the same.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if n > 0 {
		_, e := r.feed.Write(p[:n])
		if e == nil && r.ahead {
			_, e = r.feed.Write(nil) // returns when the check reads on
		}
		if e != nil {
			return 0, r.end(e)
		}
	}
	if errors.Is(err, io.EOF) {
		return n, r.end(io.EOF)
	}
	return n, err
}

// end waits for the check and returns its error, or the given one.
func (r *reader) end(err error) error {
	if !r.ended {
		_ = r.feed.Close() // never fails
		r.done.Wait()
		r.ended = true
	}
	if r.err != nil {
		return r.err
	}
	return err
}

// Close ends the check and frees the stream.
func (r *reader) Close() error {
	r.stop()
	_ = r.feed.CloseWithError(errAbandoned) // never fails
	r.done.Wait()
	return r.body.Close()
}
