package staging

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/vbatts/tar-split/tar/asm"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// splitter keeps a layer's headers and padding in a file without a name.
type splitter struct {
	file *os.File
	out  *bufio.Writer
	in   *io.PipeWriter
	work sync.WaitGroup
	err  error // of the work, once that is done
}

func newSplitter(dir string) (*splitter, error) {
	file, err := nameless(dir)
	if err != nil {
		return nil, err
	}
	s := &splitter{file: file, out: bufio.NewWriterSize(file, 64<<10)}
	layer, in := io.Pipe()
	s.in = in
	same, err := asm.NewInputTarStream(layer, tarsplit.NewJSONPacker(s.out), tarsplit.NewDiscardFilePutter())
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	s.work.Go(func() {
		// The library's goroutine ends when this does: it closes its end last.
		_, s.err = io.Copy(io.Discard, same)
		layer.CloseWithError(s.err)
	})
	return s, nil
}

// Write takes the next piece of the layer.
func (s *splitter) Write(p []byte) (int, error) {
	n, err := s.in.Write(p)
	if err != nil {
		s.work.Wait()
		return n, s.failure()
	}
	return n, nil
}

// end waits until all is kept.
func (s *splitter) end() (*os.File, error) {
	_ = s.in.Close() // never fails
	s.work.Wait()
	if err := s.failure(); err != nil {
		return nil, err
	}
	return s.file, s.out.Flush()
}

// failure tells a layer that cannot be kept from a disk that is full.
func (s *splitter) failure() error {
	_, ofFile := errors.AsType[*os.PathError](s.err)
	switch {
	case s.err == nil || ofFile:
		return s.err
	case errors.Is(s.err, tarsplit.ErrDuplicatePath):
		return &errdefs.InvalidArchive{Reason: "a layer has two entries of one name", Err: s.err}
	}
	return &errdefs.InvalidArchive{Reason: "a layer is no tar archive, or cut off: " + s.err.Error(), Err: s.err}
}

// abort ends the work and forgets what was kept.
func (s *splitter) abort() {
	s.in.CloseWithError(io.ErrUnexpectedEOF)
	s.work.Wait()
	_ = s.file.Close() // it has no name and goes
}

// nameless makes a file that no folder knows.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(headers)"), nil
	}
	f, err := os.CreateTemp(dir, "headers-") // not every file system has such files
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("%w (and then: %w)", err, f.Close())
	}
	return f, nil
}
