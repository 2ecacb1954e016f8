package archives

import (
	"archive/tar"
	"context"
	"errors"
	"io"

	"github.com/imaged-project/imaged/engine/archives/spool"
	"github.com/imaged-project/imaged/engine/checked"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// ratioFrom is how long a layer may become whatever its length.
const ratioFrom = 1 << 30

// Check reads a layer to its end and holds what it unpacks to against the limits. It returns its length when
// decompressed. A layer that is no tar is errdefs.InvalidArchive.
func Check(ctx context.Context, r io.Reader, l Limits) (int64, error) {
	l.Defaults()
	in := &counter{r: r, ctx: ctx}
	body, _, err := spool.Decompress(in)
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }() // it only frees memory
	out := &bounded{counter: counter{r: body, ctx: ctx}, in: in, limits: l}
	if err := walk(tar.NewReader(out), out, l); err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, out) // what follows the archive's end mark
	return out.n, err
}

// entries is a tar reader.
type entries interface{ Next() (*tar.Header, error) }

// walk reads a layer's entries.
func walk(archive entries, out *bounded, l Limits) error {
	sum := int64(0)
	for n := int64(1); ; n++ {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case out.err != nil:
			return out.err
		case err != nil:
			return &errdefs.InvalidArchive{Reason: "a file system in it is no tar archive, or cut off: " + err.Error(), Err: err}
		case n > l.LayerEntries:
			return &errdefs.LimitExceeded{Limit: LimitLayerEntries, Value: l.LayerEntries}
		}
		// A sparse file is as long as it says, however little there is of it.
		if header.Size > l.LayerBytes-sum {
			return &errdefs.LimitExceeded{Limit: LimitLayerBytes, Value: l.LayerBytes}
		}
		sum += header.Size
	}
}

// counter counts what is read, until its context ends.
type counter struct {
	r   io.Reader
	ctx context.Context // of the one call that it serves
	n   int64
}

func (c *counter) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, &errdefs.Cancelled{Err: context.Cause(c.ctx)}
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// bounded is a decompressed layer. It keeps its error: the tar reader may put another one in its place.
type bounded struct {
	counter
	in     *counter
	limits Limits
	err    error
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.counter.Read(p)
	switch {
	case b.n > b.limits.LayerBytes:
		err = &errdefs.LimitExceeded{Limit: LimitLayerBytes, Value: b.limits.LayerBytes}
	case b.n > ratioFrom && b.n/b.limits.Ratio > b.in.n:
		err = &errdefs.LimitExceeded{Limit: LimitRatio, Value: b.limits.Ratio}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// unpackedSize tells how long a layer of a docker-archive is when decompressed.
func unpackedSize(ctx context.Context, r *io.SectionReader, l Limits) (int64, error) {
	c, err := compressionOf(r)
	switch {
	case err != nil:
		return 0, err
	case c == spool.None:
		return r.Size(), nil
	}
	return Check(ctx, r, l)
}

// compressionOf tells how a file is compressed.
func compressionOf(r io.ReaderAt) (spool.Compression, error) {
	head := make([]byte, 6)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return spool.None, err
	}
	return spool.Sniff(head[:n]), nil
}

// layerBody is what a layer is read from, and what is closed after.
type layerBody struct {
	io.Reader
	io.Closer
}

// newChecked holds a layer against the limits while it is read. Whoever reads it learns of what is wrong before its end.
// Of xz they get nothing before: their decoder may take as much memory as the first bytes say.
func newChecked(ctx context.Context, r io.Reader, closer io.Closer, as spool.Compression, l Limits) io.ReadCloser {
	start := checked.New
	if as == spool.XZ {
		start = checked.Ahead
	}
	return start(ctx, layerBody{r, closer}, func(ctx context.Context, r io.Reader) error {
		_, err := Check(ctx, r, l)
		return err
	})
}
