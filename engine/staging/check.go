package staging

import (
	"context"
	"errors"
	"io"

	"github.com/imaged-project/imaged/engine/archives/spool"
	"github.com/imaged-project/imaged/engine/checked"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// Check holds what a layer unpacks to against the budget before it is read, as it came, by someone else who is going to
// unpack it, and knows no limits. Whoever reads it gets errdefs.LimitExceeded or InvalidArchive instead of what is too
// much or wrong. The reader owns body, and is for one goroutine.
func Check(ctx context.Context, body io.ReadCloser, budget *Budget) io.ReadCloser {
	return checked.Ahead(ctx, body, (&account{Budget: budget}).check)
}

// check checks a layer to its end.
func (a *account) check(ctx context.Context, raw io.Reader) error {
	layer, _, err := spool.Decompress(raw)
	if err != nil {
		return err
	}
	defer func() { _ = layer.Close() }() // it only frees memory
	scan := newScanner(a)
	defer scan.stop()
	if err := a.scan(ctx, scan, layer); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, raw) // what follows the compressed stream
	return err
}

// scan counts a decompressed layer.
func (a *account) scan(ctx context.Context, scan *scanner, layer io.Reader) error {
	piece := make([]byte, pieceSize)
	for ctx.Err() == nil {
		n, err := layer.Read(piece)
		if e := a.bytes(int64(n)); e != nil {
			return e
		}
		if e := scan.feed(piece[:n]); e != nil {
			return e
		}
		if scan.marks.some { // nobody would take them away
			return &errdefs.InvalidArchive{Reason: "a layer has attributes that are the store's own"}
		}
		if errors.Is(err, io.EOF) {
			return scan.end()
		}
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}
