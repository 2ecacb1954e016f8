package layerdiff

import (
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/vbatts/tar-split/archive/tar"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"
)

// ReadSplit puts a layer on top of a side, from the file in which the storage library keeps its headers
// (ID.tar-split.gz). If there is no such file, the error is os.ErrNotExist and nothing was done; after any other error the
// comparison is of no more use.
func (c *Comparison) ReadSplit(ctx context.Context, sides Side, path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	gz, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer gz.Close() //nolint:errcheck // as above
	c.begin()
	p := &pairs{ctx: ctx, entries: storage.NewJSONUnpacker(gz), each: func(h *tar.Header, checksum []byte) error {
		return c.entry(sides, h, checksum)
	}}
	if err := p.run(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// pairs brings a header together with the checksum that follows it.
type pairs struct {
	ctx     context.Context // of the reading that it lives for
	entries storage.Unpacker
	each    func(*tar.Header, []byte) error
	pending *tar.Header
}

func (p *pairs) run() error {
	err := asm.IterateHeaders(p, func(h *tar.Header) error {
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		err := p.flush(nil)
		p.pending = h
		return err
	})
	return errors.Join(err, p.flush(nil))
}

// Next implements storage.Unpacker.
func (p *pairs) Next() (*storage.Entry, error) {
	e, err := p.entries.Next()
	if err == nil && e.Type == storage.FileType {
		err = p.flush(e.Payload)
	}
	return e, err
}

// flush passes the header on that waits for its checksum.
func (p *pairs) flush(checksum []byte) error {
	h := p.pending
	p.pending = nil
	if h == nil {
		return nil
	}
	return p.each(h, checksum)
}

// ReadTar puts a layer on top of a side, from its tar. After an error the comparison is of no more use.
func (c *Comparison) ReadTar(ctx context.Context, sides Side, r io.Reader) error {
	c.begin()
	t := tar.NewReader(r)
	content := reader(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx) // a file may be long
		}
		return t.Read(p)
	})
	sum := crc64.New(storage.CRCTable) // as in the files that ReadSplit reads
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		sum.Reset()
		if _, err := io.Copy(sum, content); err != nil {
			return err
		}
		var checksum []byte
		if h.Size > 0 {
			checksum = sum.Sum(nil)
		}
		if err := c.entry(sides, h, checksum); err != nil {
			return err
		}
	}
}

// reader is a function that reads.
type reader func([]byte) (int, error)

// Read calls it.
func (r reader) Read(p []byte) (int, error) { return r(p) }
