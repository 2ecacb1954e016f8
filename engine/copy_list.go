package engine

import (
	"context"
	"io"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// allReference is a reference to a manifest list whose source is open already.
type allReference struct {
	types.ImageReference
	source *allSource
}

// NewImageSource returns the source.
func (r allReference) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return r.source, nil
}

// allSource is the source of a manifest list and its images. It serves the very list that was judged, and counts.
type allSource struct {
	types.ImageSource
	attempt *attempt
	list    readManifest
}

// GetManifest returns the list that was read before, or an image's manifest, which its digest vouches for.
func (s *allSource) GetManifest(ctx context.Context, instance *digest.Digest) (data []byte, mime string, err error) {
	if instance == nil {
		return s.list.bytes, s.list.mime, nil
	}
	a := s.attempt
	err = a.guard.do(ctx, func(ctx context.Context) { a.suspect(ctx, "") }, func(ctx context.Context) (err error) {
		data, mime, err = s.ImageSource.GetManifest(ctx, instance)
		return err
	})
	if err != nil {
		err = a.remember(err)
	}
	return data, mime, err
}

// GetBlob opens a blob. Foreign URLs of a layer are not asked.
func (s *allSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	info.URLs = nil
	return s.attempt.openBlob(ctx, s.ImageSource, info, cache)
}
