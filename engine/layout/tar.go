package layout

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"
)

const (
	block      = 512       // bytes; a tar consists of blocks
	copyBuffer = 256 << 10 // bytes that are copied at once
)

// Rewriter is an output that takes bytes at an earlier place, too: a regular file, not opened for appending.
type Rewriter interface {
	io.Writer
	// WriteAt writes at an offset, counted from the output's first byte, and leaves the end where it is.
	WriteAt(p []byte, offset int64) (int, error)
	// Truncate takes back what was written after so many bytes, counted likewise.
	Truncate(size int64) error
}

// tarFiles is Files as a tar.
type tarFiles struct {
	out   io.Writer
	spool func() (*os.File, error)
	made  map[string]bool // folders
	buf   []byte          // to copy with
	size  int64
}

// NewTar returns Files that become a tar. If out is no Rewriter, spool opens an empty temporary file for what must
// wait; it is closed after use, so it should have no name.
func NewTar(out io.Writer, spool func() (*os.File, error)) Files {
	return &tarFiles{out: out, spool: spool, made: make(map[string]bool), buf: make([]byte, copyBuffer)}
}

// Put writes an entry.
func (t *tarFiles) Put(name string, size int64, content io.Reader) error {
	if err := t.makeParent(name); err != nil {
		return err
	}
	header, err := tarHeader(name, size)
	if err != nil {
		return err
	}
	if err := t.write(header); err != nil {
		return err
	}
	n, err := io.CopyBuffer(t.out, io.LimitReader(content, size), t.buf)
	t.size += n
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("%s, %d of %d bytes: %w", name, n, size, errSize)
	}
	// The library verifies a blob when it is read to its end, not a byte before.
	if more, err := io.Copy(io.Discard, content); err != nil || more > 0 {
		return errors.Join(err, tooLong(name, more))
	}
	return t.pad()
}

func tooLong(name string, more int64) error {
	if more == 0 {
		return nil
	}
	return fmt.Errorf("%s: the blob is %d bytes longer than it was said to be", name, more)
}

// PutLater writes an entry whose header is not known yet.
func (t *tarFiles) PutLater(folder string, content io.Reader, name func() string) (int64, error) {
	if out, ok := t.out.(Rewriter); ok {
		return t.putBehind(out, folder, content, name)
	}
	file, err := t.spool()
	if err != nil {
		return 0, err
	}
	n, err := t.putSpooled(file, folder, content, name)
	return n, errors.Join(err, file.Close())
}

func (t *tarFiles) putSpooled(file *os.File, folder string, content io.Reader, name func() string) (int64, error) {
	n, err := io.Copy(file, content)
	if err != nil {
		return n, err
	}
	final := name()
	if final == "" {
		return n, nil
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return n, err
	}
	return n, t.Put(path.Join(folder, final), n, file)
}

// putBehind leaves room for the header and comes back to it.
func (t *tarFiles) putBehind(out Rewriter, folder string, content io.Reader, name func() string) (int64, error) {
	if err := t.makeParent(path.Join(folder, "x")); err != nil {
		return 0, err
	}
	start := t.size
	if err := t.write(make([]byte, block)); err != nil {
		return 0, err
	}
	n, err := io.CopyBuffer(out, content, t.buf)
	t.size += n
	if err != nil {
		return n, err
	}
	final := name()
	if final == "" {
		t.size = start
		return n, out.Truncate(start)
	}
	header, err := tarHeader(path.Join(folder, final), n)
	if err != nil {
		return n, err
	}
	if _, err := out.WriteAt(header, start); err != nil {
		return n, err
	}
	return n, t.pad()
}

// makeParent writes entries for the folders of a name that have none yet.
func (t *tarFiles) makeParent(name string) error {
	parent := path.Dir(name)
	if parent == "." || t.made[parent] {
		return nil
	}
	if err := t.makeParent(parent); err != nil {
		return err
	}
	t.made[parent] = true
	header, err := tarHeader(parent+"/", 0)
	if err != nil {
		return err
	}
	return t.write(header)
}

// pad fills the last block of an entry.
func (t *tarFiles) pad() error {
	return t.write(make([]byte, -t.size&(block-1)))
}

// Finish writes the tar's end.
func (t *tarFiles) Finish() error { return t.write(make([]byte, 2*block)) }

// Size counts all bytes.
func (t *tarFiles) Size() int64 { return t.size }

func (t *tarFiles) write(p []byte) error {
	n, err := t.out.Write(p)
	t.size += int64(n)
	return err
}

// tarHeader makes the header of an entry. It is always one block.
func tarHeader(name string, size int64) ([]byte, error) {
	h := &tar.Header{Name: name, Size: size, Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatGNU}
	if strings.HasSuffix(name, "/") {
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
	}
	var buf bytes.Buffer
	if err := tar.NewWriter(&buf).WriteHeader(h); err != nil {
		return nil, err
	}
	if buf.Len() != block {
		return nil, fmt.Errorf("%s: the name is too long for a tar", name)
	}
	return buf.Bytes(), nil
}
