// Package readahead lets reading a stream and using it go on at the same time.
//
// Package engine and those below it may import it, nothing else may.
package readahead

import (
	"io"
	"sync"
)

const (
	chunkSize  = 256 << 10 // bytes
	chunkCount = 8         // chunks that may wait for the reader
)

// chunk is a piece that was read, with the error that came after it.
type chunk struct {
	data []byte
	err  error
}

// reader reads ahead in a goroutine of its own.
type reader struct {
	full chan chunk
	free chan []byte
	stop chan struct{}
	once sync.Once
	done sync.WaitGroup

	now  []byte // buffer that rest is a part of
	rest []byte
	err  error
	src  io.ReadCloser
}

// New returns a reader of src that reads up to two mebibytes ahead. It owns src: closing it ends the reading, waits until
// it has ended, and closes src. It is for one goroutine. Errors are those of src.
func New(src io.ReadCloser) io.ReadCloser {
	r := &reader{
		full: make(chan chunk, chunkCount), free: make(chan []byte, chunkCount), stop: make(chan struct{}), src: src,
	}
	for range chunkCount {
		r.free <- nil // made when it is needed first: most layers are small
	}
	r.done.Go(r.run)
	return r
}

func (r *reader) run() {
	defer close(r.full)
	for {
		var buf []byte
		select {
		case buf = <-r.free:
		case <-r.stop:
			return
		}
		if buf == nil {
			buf = make([]byte, chunkSize)
		}
		n, err := r.src.Read(buf)
		select {
		case r.full <- chunk{buf[:n], err}:
		case <-r.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

// Read reads what was read ahead.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.now != nil {
			r.free <- r.now[:cap(r.now)] // it came from there, so there is room
			r.now = nil
		}
		c, ok := <-r.full
		if !ok {
			return 0, io.ErrClosedPipe
		}
		r.now, r.rest, r.err = c.data, c.data, c.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends the reading ahead, waits for it, and closes the source.
func (r *reader) Close() error {
	r.once.Do(func() { close(r.stop) })
	r.done.Wait()
	return r.src.Close()
}
