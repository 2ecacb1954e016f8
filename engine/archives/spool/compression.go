package spool

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// Compression is how a stream is compressed.
type Compression string

// The compressions.
const (
	// None: it is not compressed, or in a way that is not known here.
	None Compression = ""
	// Gzip is RFC 1952.
	Gzip Compression = "gzip"
	// Zstd is RFC 8878.
	Zstd Compression = "zstd"
	// Bzip2 is what bzip2 writes.
	Bzip2 Compression = "bzip2"
	// XZ is what xz writes.
	XZ Compression = "xz"
)

// maxWindow is the most memory that a zstd or xz stream may ask for: what the zstd command takes without being told to, and
// twice as much as the xz command ever asks for by itself.
const maxWindow = 128 << 20

// magicLength is how many bytes Sniff needs.
const magicLength = 6

// Sniff tells from its first bytes how a stream is compressed.
func Sniff(head []byte) Compression {
	for _, m := range []struct {
		magic string
		is    Compression
	}{{"\x1f\x8b\x08", Gzip}, {"\x28\xb5\x2f\xfd", Zstd}, {"BZh", Bzip2}, {"\xfd7zXZ\x00", XZ}} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.is
		}
	}
	// A zstd stream may begin with frames that are to be skipped.
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
		return Zstd
	}
	return None
}

// Decompress returns the decompressed stream, or the stream as it is. Errors of a broken stream are
// errdefs.InvalidArchive; those of r itself come through as they are. Closing does not close r.
func Decompress(r io.Reader) (io.ReadCloser, Compression, error) {
	in := &source{r: r}
	buffered := bufio.NewReaderSize(in, 64<<10)
	head, err := buffered.Peek(magicLength)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, None, in.explain(None, err)
	}
	c := Sniff(head)
	body, closer, err := decoder(c, buffered)
	if err != nil {
		return nil, c, in.explain(c, err)
	}
	return &decompressed{r: body, close: closer, in: in, compression: c}, c, nil
}

func decoder(c Compression, r io.Reader) (io.Reader, func(), error) {
	nothing := func() {}
	switch c {
	case Gzip:
		d, err := gzip.NewReader(r)
		return d, nothing, err
	case Zstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return d, d.Close, nil
	case Bzip2:
		return bzip2.NewReader(r), nothing, nil
	case XZ:
		d, err := xz.NewReader(newXZGuard(r))
		return d, nothing, err
	}
	return r, nothing, nil
}

// source remembers the error of the compressed stream's reader, to tell it from one of the stream.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// explain turns an error of the decoder into one that says what is wrong.
func (s *source) explain(c Compression, err error) error {
	switch {
	case s.err != nil:
		return s.err
	case c == None:
		return err
	}
	return &errdefs.InvalidArchive{Reason: "its " + string(c) + " compression is broken, or cut off: " + err.Error(), Err: err}
}

type decompressed struct {
	r           io.Reader
	close       func()
	in          *source
	compression Compression
}

func (d *decompressed) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.in.explain(d.compression, err)
	}
	return n, err
}

func (d *decompressed) Close() error {
	d.close()
	return nil
}
