package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/layout"
)

// output is where a save's bytes go: a stream, a regular file, or a folder.
type output struct {
	name    string // for people
	w       io.Writer
	regular *os.File // w, if it is a regular file that may be written at any place
	base    int64    // offset of the first byte there
	target  *target  // what is made at a path; nil: none
	tree    layout.Files
	closers []io.Closer
	release func() bool // of the hook that ends a write with the context

	n int64

	mu  sync.Mutex // guards err
	err error      // first error of writing: the library's own tells less
}

// openOutput opens what the options say.
func (s *saver) openOutput(ctx context.Context) (*output, error) {
	if s.options.Path != "" {
		o, err := openTarget(s.options.Path, s.options.folder(), s.e.tmp)
		return o, s.e.localError("save to "+clean(s.options.Path), badPath(err))
	}
	o := &output{name: "the output", w: s.options.Output}
	if c, ok := s.options.Output.(io.Closer); ok {
		o.closers = append(o.closers, c)
	}
	if file, ok := s.options.Output.(*os.File); ok {
		if err := o.useFile(file); err != nil {
			return nil, errors.Join(s.e.localError("output", err), file.Close())
		}
	}
	if d, ok := o.w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		o.release = context.AfterFunc(ctx, func() {
			_ = d.SetWriteDeadline(time.Unix(1, 0)) // a file that knows no deadlines is not waited for, either
		})
	}
	return o, nil
}

// useFile finds out how to write to a descriptor.
func (o *output) useFile(file *os.File) error {
	invalid := func(reason string) error {
		return &errdefs.InvalidParameter{Parameter: "fileDescriptor", Reason: reason}
	}
	d, err := describe(file)
	if err != nil {
		return err
	}
	if !d.opened(unix.O_WRONLY) {
		return invalid("it is not open for writing")
	}
	switch d.mode & unix.S_IFMT {
	case unix.S_IFREG:
		return o.useRegular(file, d.flags)
	case unix.S_IFIFO:
		return o.usePipe(d.path)
	case unix.S_IFSOCK:
		if d.stream {
			return o.useSocket(file)
		}
	case unix.S_IFCHR:
		return nil
	}
	return invalid(wrongKind)
}

func (o *output) useRegular(file *os.File, flags int) (err error) {
	if flags&unix.O_APPEND != 0 {
		return nil
	}
	o.base, err = file.Seek(0, io.SeekCurrent)
	o.regular = file
	return err
}

// usePipe opens the pipe anew: so the writing can be broken off, and the caller's own descriptor stays as it is.
func (o *output) usePipe(path string) error {
	again, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil // another user's, who has passed it on: it will do as it is
	}
	if err != nil {
		return err
	}
	o.w = again
	o.closers = append(o.closers, again)
	return nil
}

func (o *output) useSocket(file *os.File) error {
	conn, err := net.FileConn(file)
	if err != nil {
		return err
	}
	o.w = conn
	o.closers = append(o.closers, conn)
	return nil
}

// Write writes on. Its first error is remembered.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.n += int64(n)
	return n, o.remember(err)
}

func (o *output) remember(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	return err
}

// firstError returns the first error of writing.
func (o *output) firstError() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// rewritable is an output that is a regular file.
type rewritable struct{ *output }

// WriteAt implements layout.Rewriter.
func (o rewritable) WriteAt(p []byte, offset int64) (int, error) {
	n, err := o.regular.WriteAt(p, o.base+offset)
	return n, o.remember(err)
}

// Truncate implements layout.Rewriter.
func (o rewritable) Truncate(size int64) error {
	_, err := o.regular.Seek(o.base+size, io.SeekStart)
	return o.remember(errors.Join(err, o.regular.Truncate(o.base+size)))
}

// files returns the place for a layout's files.
func (o *output) files(spool func() (*os.File, error)) layout.Files {
	switch {
	case o.target != nil && o.target.root != nil:
		o.tree = layout.NewFolder(o.target.root, o.target.mode)
	case o.regular != nil:
		o.tree = layout.NewTar(rewritable{o}, spool)
	default:
		o.tree = layout.NewTar(o, spool)
	}
	return o.tree
}

// whole returns the file if all of it is to be written, else nil.
func (o *output) whole() *os.File {
	if o.regular == nil || o.base != 0 {
		return nil
	}
	info, err := o.regular.Stat()
	if err != nil || info.Size() != 0 {
		return nil
	}
	return o.regular
}

// wroteWhole is called when another has written the whole file.
func (o *output) wroteWhole() (err error) {
	o.n, err = o.regular.Seek(0, io.SeekEnd)
	return err
}

// size is how many bytes were written.
func (o *output) size() int64 {
	if o.tree != nil {
		return o.tree.Size()
	}
	return o.n
}

// commit puts what was made in its place.
func (o *output) commit() error {
	if o.target == nil {
		return nil
	}
	return o.target.commit()
}

// close ends the output. What was made at a path goes unless it was committed.
func (o *output) close() error {
	if o.release != nil {
		o.release()
	}
	var errs []error
	for _, c := range o.closers {
		errs = append(errs, c.Close())
	}
	if o.target != nil {
		errs = append(errs, o.target.close())
	}
	return errors.Join(errs...)
}

// explain turns an error of saving into one of errdefs.
func (s *saver) explain(out *output, err error) error {
	if first := out.firstError(); first != nil && !errdefs.Known(err) {
		err = first
	}
	switch {
	case errdefs.Known(err):
		return errdefs.Find(err)
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return &errdefs.Cancelled{Job: s.reporter.Job(), Err: errReaderGone}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		return &errdefs.StorageFull{Path: s.full(out, err), Reason: clean(err.Error()), Err: quiet{err}}
	}
	if rejected := policyError(err, origin{reference: strings.Join(s.names, " ")}); rejected != nil {
		return rejected
	}
	if now, e := s.e.snapshot(context.Background()); e == nil {
		for _, i := range s.found {
			if now.ByID(i.img.ID) == nil { // by a program that does not ask us
				return &errdefs.ImageNotFound{Name: i.name, Reason: "the image was removed while it was read", Err: quiet{err}}
			}
		}
	}
	return s.e.localError("save "+clean(strings.Join(s.names, " ")), quiet{err})
}

// errReaderGone is the cause where whoever read the output does not any more.
var errReaderGone = errors.New("the reader of the output has gone")

// full tells which file system is full.
func (s *saver) full(out *output, err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok && strings.HasPrefix(pe.Path, s.e.tmp.path) {
		return s.e.tmp.path
	}
	return out.name
}
