package direct

import (
	"context"
	"errors"
	"io"
)

// Meter is told how the reading of an image goes on. Its methods are called from several goroutines.
type Meter interface {
	// Prepare says that the library copies a layer to a temporary file first, which may take long.
	Prepare(digest string)
	// Start says that a blob is being read, from its first byte on.
	Start(digest string)
	// Read counts n more bytes of it.
	Read(digest string, n int64)
	// Fail says that a blob could not be read to its end.
	Fail(digest string, err error)
}

// meteredReader tells a meter what is read. It ends with its context.
type meteredReader struct {
	io.ReadCloser
	ctx    context.Context // of the operation that reads; a reader lives for one only
	meter  Meter
	digest string
	end    func() // of its turn
}

// Close ends the reading.
func (r *meteredReader) Close() error {
	defer r.end()
	return r.ReadCloser.Close()
}

// Read reads on, until the context ends.
func (r *meteredReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		err := context.Cause(r.ctx)
		r.meter.Fail(r.digest, err)
		return 0, err
	}
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.meter.Read(r.digest, int64(n))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.meter.Fail(r.digest, err)
	}
	return n, err
}
