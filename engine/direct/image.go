package direct

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/go-json-experiment/json"
	"golang.org/x/sync/semaphore"
)

// bigLayer is the size above which layers take turns, in bytes.
const bigLayer = 8 << 20

// Image returns a reference to an image of the store, by its id, whose source reads its layers directly. It is the
// library's own reference in everything else, so that signature policies mean it, too. Layers of more than 8 MiB
// are read as turns allows; nil: all at once.
func Image(store storage.Store, id string, meter Meter, turns *semaphore.Weighted) (types.ImageReference, error) {
	ref, err := istorage.Transport.NewStoreReference(store, nil, id)
	if err != nil {
		return nil, err
	}
	return imageReference{ref, store, id, meter, turns}, nil
}

type imageReference struct {
	types.ImageReference
	store storage.Store
	id    string
	meter Meter
	turns *semaphore.Weighted
}

// NewImageSource opens the image.
func (r imageReference) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	img, err := r.store.Image(r.id)
	if err != nil {
		return nil, err
	}
	source, err := r.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	if hidden, err := hidesSignatures(r.store, img); err != nil || hidden {
		// The library passes signatures of the newer kinds on between its own types only, so this image takes its way.
		if err != nil {
			return nil, errors.Join(err, source.Close())
		}
		return source, nil
	}
	return &imageSource{ImageSource: source, find: sync.OnceValues(func() (*layers, error) {
		return newLayers(r.store, img.TopLayer)
	}), meter: r.meter, turns: r.turns}, nil
}

// imageSource is the library's source but for the layers.
type imageSource struct {
	types.ImageSource
	find  func() (*layers, error)
	meter Meter
	turns *semaphore.Weighted
}

// GetBlob opens a blob.
func (s *imageSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	name := info.Digest.String()
	end, err := s.turn(ctx, info.Size)
	if err != nil {
		return nil, 0, err
	}
	body, size, err := s.open(ctx, info, cache)
	if err != nil {
		end()
		s.meter.Fail(name, err)
		return nil, 0, err
	}
	s.meter.Start(name)
	return &meteredReader{body, ctx, s.meter, name, sync.OnceFunc(end)}, size, nil
}

// turn waits for a turn, which end ends.
func (s *imageSource) turn(ctx context.Context, size int64) (end func(), err error) {
	if s.turns == nil || size >= 0 && size <= bigLayer {
		return func() {}, nil
	}
	if err := s.turns.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { s.turns.Release(1) }, nil
}

func (s *imageSource) open(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	all, err := s.find()
	if err != nil {
		return nil, 0, err
	}
	body, err := all.open(info.Digest)
	if err != nil {
		return nil, 0, fmt.Errorf("layer %s: %w", info.Digest, err)
	}
	if body != nil {
		return body, info.Size, nil
	}
	s.meter.Prepare(info.Digest.String())
	return s.ImageSource.GetBlob(ctx, info, cache)
}

// hidesSignatures tells whether an image has signatures of which the library's public interface does not speak.
func hidesSignatures(store storage.Store, img *storage.Image) (bool, error) {
	var metadata struct {
		Sizes []int            `json:"signature-sizes"`
		More  map[string][]int `json:"signatures-sizes"`
	}
	if img.Metadata == "" {
		return false, nil
	}
	if err := json.Unmarshal([]byte(img.Metadata), &metadata, json.MatchCaseInsensitiveNames(true)); err != nil {
		return false, fmt.Errorf("metadata of image %s: %w", img.ID, err)
	}
	for _, sizes := range metadata.More {
		if len(sizes) > 0 {
			return true, nil
		}
	}
	if len(metadata.Sizes) == 0 {
		return false, nil
	}
	data, err := store.ImageBigData(img.ID, "signatures")
	if err != nil {
		return false, fmt.Errorf("signatures of image %s: %w", img.ID, err)
	}
	for _, size := range metadata.Sizes {
		if size <= 0 || size > len(data) {
			return true, nil // the library says what is wrong
		}
		if data[0] == 0 { // how the newer kinds begin
			return true, nil
		}
		data = data[size:]
	}
	return false, nil
}
