package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/progress"
	"github.com/imaged-project/imaged/engine/staging"
)

// openedReference is a reference whose source is open already: the library copies from the very source that was
// judged, so that a tag that moves meanwhile does not matter.
type openedReference struct {
	types.ImageReference
	source *countingSource
}

// NewImageSource returns the source.
func (r openedReference) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return r.source, nil
}

// countingSource is a source that counts what is read from it and holds it against what the manifest says. It serves
// the manifests and the configuration that were read before and judged, never others.
type countingSource struct {
	types.ImageSource
	attempt *attempt
	plan    *pullPlan
	budget  *staging.Budget // of what the layers unpack to; nil: nobody unpacks them here
}

// GetManifest returns a manifest that was read before.
func (s *countingSource) GetManifest(_ context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance == nil {
		return s.plan.top.bytes, s.plan.top.mime, nil
	}
	if s.plan.instance != nil && *instance == *s.plan.instance {
		return s.plan.image.bytes, s.plan.image.mime, nil
	}
	return nil, "", fmt.Errorf("manifest %s: not the one that was chosen", *instance)
}

// GetBlob opens a blob, for the library. What a layer unpacks to is held against the budget: the library has no limit.
func (s *countingSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if s.plan.config != nil && info.Digest == s.plan.configDigest {
		return io.NopCloser(bytes.NewReader(s.plan.config)), int64(len(s.plan.config)), nil
	}
	body, size, err := s.openLayer(ctx, info, cache)
	if err != nil || s.budget == nil {
		return body, size, err
	}
	return &boundedBody{staging.Check(ctx, body, s.budget), s.attempt}, size, nil
}

// openLayer opens a layer. Foreign URLs of it are not asked: they would let an image send us anywhere.
func (s *countingSource) openLayer(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	info.URLs = nil
	return s.attempt.openBlob(ctx, s.ImageSource, info, cache)
}

// boundedBody is a layer whose limits are looked after. What is wrong with it is the attempt's error.
type boundedBody struct {
	io.ReadCloser
	attempt *attempt
}

// Read reads on.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.attempt.remember(err)
	}
	return n, err
}

// openBlob opens a blob of a source and returns a reader that counts and bounds it.
func (a *attempt) openBlob(ctx context.Context, source types.ImageSource, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	tracker, name := a.reporter.Progress(), info.Digest.String()
	tracker.Start(name)
	var body io.ReadCloser
	var size int64
	err := a.guard.do(ctx, func(ctx context.Context) { a.suspect(ctx, name) }, func(ctx context.Context) (err error) {
		body, size, err = source.GetBlob(ctx, info, cache)
		return err
	})
	if err != nil {
		tracker.SetState(name, progress.BlobFailed)
		return nil, 0, a.remember(&blobError{err, name})
	}
	most := info.Size
	if most < 0 {
		most = a.limits.LayerBytes
	}
	counting := &countingBody{ReadCloser: body, attempt: a, name: name, size: info.Size, most: most}
	return struct {
		io.Reader
		io.Closer
	}{a.e.guard.room.reader(counting, a.e.tmp.path), counting}, size, nil
}

// countingBody counts a blob's bytes.
type countingBody struct {
	io.ReadCloser
	attempt *attempt
	name    string
	size    int64 // as the manifest says; negative if it does not
	most    int64
	offset  int64
}

// Read reads on. It fails if nothing comes for too long, and if the blob is longer or shorter than it should be.
func (b *countingBody) Read(p []byte) (int, error) {
	stall := b.attempt.guard.timer()
	n, err := b.ReadCloser.Read(p)
	stall.Stop()
	b.offset += int64(n)
	tracker := b.attempt.reporter.Progress()
	tracker.Transferred(b.name, int64(n))
	switch {
	case b.offset > b.most && b.size < 0:
		err = &errdefs.LimitExceeded{Limit: LimitLayerBytes, Value: b.most}
	case b.offset > b.most:
		err = &errdefs.InvalidArchive{Reason: fmt.Sprintf("blob %s is longer than the %d bytes that the manifest says", b.name, b.size)}
	case errors.Is(err, io.EOF) && b.offset < b.size:
		err = b.broken(errTruncated)
	case errors.Is(err, io.EOF):
		tracker.SetState(b.name, progress.BlobUnpacking)
		return n, io.EOF
	case err != nil:
		err = b.broken(err)
	}
	if err != nil {
		tracker.SetState(b.name, progress.BlobFailed)
		err = b.attempt.remember(err)
	}
	return n, err
}

// broken makes an error of reading on.
func (b *countingBody) broken(err error) error {
	err = fmt.Errorf("blob %s, %d of %d bytes: %w", b.name, b.offset, b.size, err)
	if b.attempt.local {
		return b.attempt.blame(err)
	}
	return &transferError{err}
}
