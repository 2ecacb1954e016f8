package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// Names of the limits, as errdefs.LimitExceeded carries them.
const (
	// LimitBytes is Options.Bytes.
	LimitBytes = "archive.bytes"
	// LimitRatio is Options.Ratio.
	LimitRatio = "archive.ratio"
)

// Options say where to and how much. Dir must be set.
type Options struct {
	// Dir is the folder whose file system takes the file.
	Dir string
	// Bytes is how long an archive may be, decompressed. Zero: 256 GiB.
	Bytes int64
	// Ratio is how many times as long as it came an archive may become, once that is more than a gibibyte. Zero:
	// 1,100, a little more than gzip can do.
	Ratio int64
	// Progress is called with the number of bytes that came in, for each piece of them. Nil: nobody is told.
	Progress func(n int64)
}

func (o *Options) defaults() {
	o.Bytes = cmp.Or(o.Bytes, 256<<30)
	o.Ratio = cmp.Or(o.Ratio, 1100)
}

const (
	// ratioFrom is how long an archive may become whatever came in.
	ratioFrom = 1 << 30
	// spaceStep is after how many bytes the free space is looked at again.
	spaceStep = 32 << 20
	// maxReserve is the most that is left free on the file system; on small ones it is a twentieth.
	maxReserve = 1 << 30
)

// File is an archive that can be read at any place. Its methods are safe for concurrent use, but for Close.
type File struct {
	io.ReaderAt
	// Size is its length in bytes.
	Size int64
	// Compression is how it was compressed when it came.
	Compression Compression
	// Copied tells whether it was written to the disk for this.
	Copied bool

	own *os.File // nil if it is another's
}

// Close frees what was made for it. A file that was left where it is stays open.
func (f *File) Close() error {
	if f.own == nil {
		return nil
	}
	return f.own.Close()
}

// Open makes an archive readable at any place. From a regular file it is read from the file's position on, and if
// that is not compressed, it stays there: the caller keeps the file open, and unchanged, as long as it is used. From
// anything else it is read to the end. Errors are errdefs.InvalidArchive, LimitExceeded, StorageFull, Cancelled, and
// those of in.
func Open(ctx context.Context, in io.Reader, o Options) (*File, error) {
	o.defaults()
	f, ok := in.(*os.File)
	if !ok {
		return copyIn(ctx, in, o)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.Mode().IsRegular():
		return openRegular(ctx, f, info.Size(), o)
	case info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0:
		return nil, &errdefs.InvalidArchive{Reason: "it is neither in a regular file nor comes from a pipe or socket"}
	}
	waiting, err := newWaitingReader(ctx, f)
	if err != nil {
		return nil, err
	}
	defer waiting.close()
	return copyIn(ctx, waiting, o)
}

func openRegular(ctx context.Context, f *os.File, size int64, o Options) (*File, error) {
	start, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	section := io.NewSectionReader(f, start, max(0, size-start))
	head := make([]byte, magicLength)
	n, err := section.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if Sniff(head[:n]) != None {
		return copyIn(ctx, section, o)
	}
	if section.Size() > o.Bytes {
		return nil, &errdefs.LimitExceeded{Limit: LimitBytes, Value: o.Bytes}
	}
	return &File{ReaderAt: section, Size: section.Size()}, nil
}

// copyIn writes what comes in into a file without a name.
func copyIn(ctx context.Context, in io.Reader, o Options) (*File, error) {
	out, err := nameless(o.Dir)
	if err != nil {
		return nil, err
	}
	w := &writer{ctx: ctx, out: out, options: o}
	file, err := w.copy(in)
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return file, nil
}

// nameless makes a file that no folder knows.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(spool)"), nil
	}
	// Not every file system has such files.
	f, err := os.CreateTemp(dir, "spool-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// writer counts what comes in and goes out, and stops what becomes too much.
type writer struct {
	ctx     context.Context // of the one call that it serves
	out     *os.File
	options Options
	came    int64
	written int64
	checked int64 // how much was written when the free space was looked at
}

func (w *writer) copy(in io.Reader) (*File, error) {
	body, compression, err := Decompress(incoming{in, w})
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // it only frees memory
	if err := w.checkSpace(); err != nil {
		return nil, err
	}
	// The wrappers keep io.Copy to plain reads and writes.
	if _, err := io.CopyBuffer(outgoing{w}, struct{ io.Reader }{body}, make([]byte, 256<<10)); err != nil {
		return nil, err
	}
	return &File{ReaderAt: w.out, Size: w.written, Compression: compression, Copied: true, own: w.out}, nil
}

// incoming counts what comes in.
type incoming struct {
	io.Reader
	w *writer
}

func (i incoming) Read(p []byte) (int, error) {
	if i.w.ctx.Err() != nil {
		return 0, &errdefs.Cancelled{Err: context.Cause(i.w.ctx)}
	}
	n, err := i.Reader.Read(p)
	i.w.came += int64(n)
	if i.w.options.Progress != nil && n > 0 {
		i.w.options.Progress(int64(n))
	}
	return n, err
}

// outgoing writes to the file as long as nothing is too much.
type outgoing struct{ w *writer }

func (o outgoing) Write(p []byte) (int, error) {
	w := o.w
	if w.ctx.Err() != nil {
		return 0, &errdefs.Cancelled{Err: context.Cause(w.ctx)}
	}
	total := w.written + int64(len(p))
	switch {
	case total > w.options.Bytes:
		return 0, &errdefs.LimitExceeded{Limit: LimitBytes, Value: w.options.Bytes}
	case total > ratioFrom && total/w.options.Ratio > w.came:
		return 0, &errdefs.LimitExceeded{Limit: LimitRatio, Value: w.options.Ratio}
	}
	if total-w.checked > spaceStep {
		if err := w.checkSpace(); err != nil {
			return 0, err
		}
	}
	n, err := w.out.Write(p)
	w.written += int64(n)
	return n, err
}

// checkSpace keeps the file system from being filled to its last block.
func (w *writer) checkSpace() error {
	w.checked = w.written
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(w.out.Fd()), &st); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	block := uint64(st.Bsize)
	free, reserve := st.Bavail*block, min(st.Blocks*block/20, maxReserve)
	if free < reserve {
		reason := fmt.Sprintf("%d bytes are free, and %d are kept free", free, reserve)
		return &errdefs.StorageFull{Path: w.options.Dir, Reason: reason, Err: unix.ENOSPC}
	}
	return nil
}
