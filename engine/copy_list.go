package engine

import (
	"context"
	"fmt"
	"io"

	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
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

// GetManifest returns the list that was read before, or an image's manifest once it is checked. Its digest vouches for
// it.
func (s *allSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance == nil {
		return s.list.bytes, s.list.mime, nil
	}
	a := s.attempt
	m, err := a.readManifest(ctx, image.UnparsedInstance(s.ImageSource, instance))
	switch {
	case err != nil:
	case manifest.MIMETypeIsMultiImage(m.mime):
		err = damaged("manifest list", fmt.Errorf("%s in it is a list again", *instance))
	default:
		err = a.checkBlobs(&pullPlan{image: m})
	}
	if err != nil {
		return nil, "", a.remember(err)
	}
	return m.bytes, m.mime, nil
}

// GetBlob opens a blob. Foreign URLs of a layer are not asked.
func (s *allSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	info.URLs = nil
	return s.attempt.openBlob(ctx, s.ImageSource, info, cache)
}
