package staging

import (
	"errors"
	"io"
	"sync"

	"github.com/imaged-project/imaged/engine/archives/spool"
)

// Check holds what a layer unpacks to against the budget while it is read, as it came, by someone else who is going to
// unpack it. Whoever reads it gets errdefs.LimitExceeded or InvalidArchive before its end. The reader owns body, and is
// for one goroutine.
func Check(body io.ReadCloser, budget *Budget) io.ReadCloser {
	out, feed := io.Pipe()
	c := &checking{body: body, feed: feed, account: &account{Budget: budget}}
	c.done.Go(func() {
		c.err = c.run(out)
		_ = out.CloseWithError(c.err) // nil: later writes fail, but there are none
	})
	return c
}

// checking is a layer that is checked while it is read.
type checking struct {
	body    io.ReadCloser
	feed    *io.PipeWriter
	account *account
	done    sync.WaitGroup
	err     error // of the check, once done
	ended   bool  // the check was waited for
}

// run checks a layer to its end.
func (c *checking) run(raw io.Reader) error {
	layer, _, err := spool.Decompress(raw)
	if err != nil {
		return err
	}
	defer func() { _ = layer.Close() }() // it only frees memory
	scan := newScanner(c.account)
	defer scan.stop()
	if err := c.scan(scan, layer); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, raw) // what follows the compressed stream
	return err
}

// scan counts a decompressed layer.
func (c *checking) scan(scan *scanner, layer io.Reader) error {
	piece := make([]byte, pieceSize)
	for {
		n, err := layer.Read(piece)
		if e := c.account.bytes(int64(n)); e != nil {
			return e
		}
		if e := scan.feed(piece[:n]); e != nil {
			return e
		}
		if errors.Is(err, io.EOF) {
			return scan.end()
		}
		if err != nil {
			return err
		}
	}
}

// Read reads on, and lets the check read the same.
func (c *checking) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	if n > 0 {
		if _, e := c.feed.Write(p[:n]); e != nil {
			return 0, c.end(e)
		}
	}
	if errors.Is(err, io.EOF) {
		return n, c.end(io.EOF)
	}
	return n, err
}

// end waits for the check and returns its error, or the given one.
func (c *checking) end(err error) error {
	if !c.ended {
		_ = c.feed.Close() // never fails
		c.done.Wait()
		c.ended = true
	}
	if c.err != nil {
		return c.err
	}
	return err
}

// errAbandoned ends the check of a layer that nobody reads to its end.
var errAbandoned = errors.New("the layer was not read to its end")

// Close ends the check and frees the layer.
func (c *checking) Close() error {
	_ = c.feed.CloseWithError(errAbandoned) // never fails
	c.done.Wait()
	return c.body.Close()
}
