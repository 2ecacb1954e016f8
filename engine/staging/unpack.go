package staging

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine/archives/spool"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/readahead"
)

const (
	// pieceSize is how much of a layer is handled at once, in bytes.
	pieceSize = 128 << 10
	// blameSize is how much of a broken layer is read on to learn whether it came damaged, in bytes.
	blameSize = 16 << 20
	// rootMode is what the library gives the root of a lowest layer.
	rootMode = 0o555
)

// unpacking is the work on one layer. It is what the library calls a differ.
type unpacking struct {
	ctx     context.Context // of this one work
	cancel  context.CancelFunc
	source  Source
	body    io.Reader
	account *account
	tmp     string
}

// Close does nothing: the body is the caller's.
func (*unpacking) Close() error { return nil }

// ApplyDiff unpacks the layer into a folder. The library calls it.
func (u *unpacking) ApplyDiff(
	folder string, options *archive.TarOptions, differ *graphdriver.DifferOptions,
) (output graphdriver.DriverWithDifferOutput, err error) {
	if differ.Format != graphdriver.DifferOutputFormatDir || options.ForceMask != nil {
		return output, ErrImpossible
	}
	if err := os.Chmod(folder, rootMode); err != nil { // the umask may have taken something away
		return output, err
	}
	raw := &hashing{r: u.body, hash: digest.Canonical.Hash()}
	layer, err := u.open(raw)
	if err != nil {
		return output, u.blame(raw, err)
	}
	p := &pump{unpacking: u, layer: layer, hash: digest.Canonical.Hash()}
	output, err = p.run(folder, options)
	if err != nil && !u.isContent(err) {
		u.cancel() // it may be waiting for the other side
	}
	if e := layer.Close(); err == nil {
		err = e
	}
	if err == nil {
		_, err = io.Copy(io.Discard, raw) // what follows the compressed stream
	}
	if err == nil {
		err = u.check(raw, output.UncompressedDigest)
	}
	if err != nil {
		if output.TarSplit != nil {
			_ = output.TarSplit.Close() // it has no name and goes
		}
		return graphdriver.DriverWithDifferOutput{}, u.blame(raw, err)
	}
	output.CompressedDigest = u.source.Compressed
	if output.CompressedDigest == "" {
		output.CompressedDigest = u.source.Digest
	}
	return output, nil
}

// open decompresses the layer, ahead of its use.
func (u *unpacking) open(raw io.Reader) (io.ReadCloser, error) {
	layer, _, err := spool.Decompress(raw)
	if err != nil {
		return nil, err
	}
	return readahead.New(layer), nil
}

// check holds the layer against its digests.
func (u *unpacking) check(raw *hashing, diffID digest.Digest) error {
	if err := u.checkRaw(raw); err != nil {
		return err
	}
	if diffID != u.source.DiffID {
		return &errdefs.InvalidArchive{Reason: fmt.Sprintf(
			"layer %s does not match config's DiffID %s, it is %s", u.source.Digest, u.source.DiffID, diffID,
		)}
	}
	return nil
}

func (u *unpacking) checkRaw(raw *hashing) error {
	if got := digest.NewDigest(digest.Canonical, raw.hash); u.source.Digest != "" && got != u.source.Digest {
		return &errdefs.InvalidArchive{Reason: fmt.Sprintf("Digest did not match, expected %s, got %s", u.source.Digest, got)}
	}
	return nil
}

// isContent tells whether an error is about what the layer consists of.
func (*unpacking) isContent(err error) bool {
	_, ok := errors.AsType[*errdefs.InvalidArchive](err)
	return ok
}

// blame finds out whether a broken layer is so, or came so.
func (u *unpacking) blame(raw *hashing, err error) error {
	if !u.isContent(err) || raw.err != nil {
		return err
	}
	if n, e := io.CopyN(io.Discard, raw, blameSize); e == nil && n == blameSize || e != nil && !errors.Is(e, io.EOF) {
		return err
	}
	if e := u.checkRaw(raw); e != nil {
		return e
	}
	return err
}

// hashing takes the digest of what is read.
type hashing struct {
	r    io.Reader
	hash hash.Hash
	err  error // of r, but its end
}

func (h *hashing) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.hash.Write(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		h.err = err
	}
	return n, err
}

// pump moves a decompressed layer to all who want it.
type pump struct {
	*unpacking
	layer io.Reader
	hash  hash.Hash
	scan  *scanner
	split *splitter
	child *child
}

// run unpacks the layer. If it fails, nothing of it runs any more.
func (p *pump) run(folder string, options *archive.TarOptions) (output graphdriver.DriverWithDifferOutput, err error) {
	if p.split, err = newSplitter(p.tmp); err != nil {
		return output, err
	}
	defer func() {
		if err != nil {
			p.split.abort()
		}
	}()
	p.scan = newScanner(p.account)
	defer p.scan.stop()
	if p.child, err = startChild(p.ctx, folder, options); err != nil {
		return output, err
	}
	if err := p.move(); err != nil {
		p.child.abort()
		return output, err
	}
	if err := p.child.end(); err != nil {
		return output, p.because(err)
	}
	if err := p.scan.marks.remove(folder); err != nil {
		return output, err
	}
	split, err := p.split.end()
	if err != nil {
		return output, err
	}
	output.TarSplit, output.Size = split, p.account.stream
	output.UncompressedDigest = digest.NewDigest(digest.Canonical, p.hash)
	output.UIDs, output.GIDs = p.scan.owners()
	if p.scan.root {
		output.RootDirMode = new(os.FileMode) // only that there is one matters
	}
	return output, nil
}

// because makes the error of a helper that failed. If it was killed, that is not why.
func (p *pump) because(err error) error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	return err
}

// move moves the layer to its end.
func (p *pump) move() error {
	piece := make([]byte, pieceSize)
	for {
		n, err := p.layer.Read(piece)
		if n > 0 {
			if err := p.give(piece[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return p.scan.end()
		}
		if err != nil {
			return err
		}
	}
}

// give gives a piece of the layer to all. The helper gets it last, when it is known to be harmless.
func (p *pump) give(piece []byte) error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	if err := p.account.bytes(int64(len(piece))); err != nil {
		return err
	}
	p.hash.Write(piece)
	if err := p.scan.feed(piece); err != nil {
		return err
	}
	if _, err := p.split.Write(piece); err != nil {
		return err
	}
	_, err := p.child.Write(piece)
	if err != nil {
		if e := p.child.end(); e != nil { // it says more than that nobody reads
			err = e
		}
		return p.because(err)
	}
	return nil
}
