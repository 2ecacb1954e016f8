package engine

import (
	"context"
	"io"

	"github.com/containers/image/v5/pkg/compression"
	"github.com/containers/image/v5/types"
)

// The library compresses with pgzip in a goroutine of its own. A pgzip writer whose output is closed before its input
// has ended leaves a goroutine and some megabytes behind, for good. That is what happens where a blob cannot be
// written to its destination, or the writing is cancelled. So the input is ended first, and then the output is read to
// its end.

// usesPgzip tells whether a copy compresses, or may compress, with pgzip.
func usesPgzip(dest types.ImageReference, sys *types.SystemContext) bool {
	if dest.Transport().Name() == transportDockerArchive {
		return false // it has uncompressed layers
	}
	return sys == nil || sys.CompressionFormat == nil || sys.CompressionFormat.Name() == compression.Gzip.Name()
}

// drainingReference is a destination to which blobs are written in this way.
type drainingReference struct {
	types.ImageReference
	abort context.CancelCauseFunc // ends the copy, and with it the reading of the source
}

// NewImageDestination opens the destination.
func (r drainingReference) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	dest, err := r.ImageReference.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return drainingDestination{dest, r.abort}, nil
}

type drainingDestination struct {
	types.ImageDestination
	abort context.CancelCauseFunc
}

// PutBlob writes a blob. If that fails, it reads the rest of the stream, which comes to an end soon.
func (d drainingDestination) PutBlob(ctx context.Context, stream io.Reader, info types.BlobInfo, cache types.BlobInfoCache, config bool) (types.BlobInfo, error) {
	written, err := d.ImageDestination.PutBlob(ctx, stream, info, cache, config)
	if err != nil {
		d.abort(err)
		_, _ = io.Copy(io.Discard, stream) // its error is the end that abort made
	}
	return written, err
}

// TryReusingBlob looks for a blob, or for one with the same content, at the destination. Behind a wrapper such as this the
// library does not say which formats of manifests are possible, and not all know a layer that is not compressed with gzip:
// so no layer of another compression takes the place of one that is there to be copied.
func (d drainingDestination) TryReusingBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache, substitute bool) (bool, types.BlobInfo, error) {
	found, blob, err := d.ImageDestination.TryReusingBlob(ctx, info, cache, substitute)
	if err != nil || !found || blob.Digest == info.Digest || blob.CompressionAlgorithm == nil || blob.CompressionAlgorithm.Name() == compression.Gzip.Name() {
		return found, blob, err
	}
	return d.ImageDestination.TryReusingBlob(ctx, info, cache, false)
}
