package direct

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containers/image/v5/manifest"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
)

// List returns a reference to a manifest list of the store, by its id. Its source has the list's images, too: instance
// returns the reference of the one with a manifest's digest.
func List(store storage.Store, id string, instance func(digest.Digest) (types.ImageReference, error)) (types.ImageReference, error) {
	ref, err := istorage.Transport.NewStoreReference(store, nil, id)
	if err != nil {
		return nil, err
	}
	return listReference{ref, instance}, nil
}

type listReference struct {
	types.ImageReference
	instance func(digest.Digest) (types.ImageReference, error)
}

// NewImageSource opens the list.
func (r listReference) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	list, err := r.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &listSource{
		ImageSource: list, sys: sys, instance: r.instance, opened: make(map[digest.Digest]types.ImageSource),
		owners: make(map[digest.Digest]types.ImageSource),
	}, nil
}

// listSource is the source of a list and of its images. Those are opened as they are asked for.
type listSource struct {
	types.ImageSource
	sys      *types.SystemContext
	instance func(digest.Digest) (types.ImageReference, error)

	mu     sync.Mutex // guards what follows
	opened map[digest.Digest]types.ImageSource
	owners map[digest.Digest]types.ImageSource // of the blobs
}

// open opens an image of the list.
func (s *listSource) open(ctx context.Context, d digest.Digest) (types.ImageSource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if source := s.opened[d]; source != nil {
		return source, nil
	}
	ref, err := s.instance(d)
	if err != nil {
		return nil, err
	}
	source, err := ref.NewImageSource(ctx, s.sys)
	if err != nil {
		return nil, err
	}
	s.opened[d] = source
	return source, nil
}

// GetManifest returns the list, or an image's manifest, which is held against its digest.
func (s *listSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance == nil {
		return s.ImageSource.GetManifest(ctx, nil)
	}
	source, err := s.open(ctx, *instance)
	if err != nil {
		return nil, "", err
	}
	// The store may know the image by several manifests. Sources of registries are opened by this very digest.
	if data, mime, err := source.GetManifest(ctx, instance); err == nil {
		return s.note(source, *instance, data, mime)
	}
	data, mime, err := source.GetManifest(ctx, nil)
	if err != nil {
		return nil, "", err
	}
	return s.note(source, *instance, data, mime)
}

// note remembers which image the configuration belongs to.
func (s *listSource) note(source types.ImageSource, instance digest.Digest, data []byte, mime string) ([]byte, string, error) {
	got, err := manifest.Digest(data)
	if err != nil {
		return nil, "", fmt.Errorf("manifest %s: %w", instance, err)
	}
	if got != instance {
		return nil, "", fmt.Errorf("manifest %s: the store has %s in its place", instance, got)
	}
	config, err := configDigest(data, mime)
	if err != nil {
		return nil, "", err
	}
	if config != "" {
		s.own(source, config)
	}
	return data, mime, nil
}

func (s *listSource) own(source types.ImageSource, d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[d] = source
}

// LayerInfosForCopy returns an image's layers as they can be had.
func (s *listSource) LayerInfosForCopy(ctx context.Context, instance *digest.Digest) ([]types.BlobInfo, error) {
	if instance == nil {
		return s.ImageSource.LayerInfosForCopy(ctx, nil)
	}
	source, err := s.open(ctx, *instance)
	if err != nil {
		return nil, err
	}
	infos, err := source.LayerInfosForCopy(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		s.own(source, info.Digest)
	}
	if infos == nil { // as the manifest says
		return s.manifestLayers(ctx, source, *instance)
	}
	return infos, nil
}

// manifestLayers remembers the layers of an image whose source has them as its manifest says.
func (s *listSource) manifestLayers(ctx context.Context, source types.ImageSource, instance digest.Digest) ([]types.BlobInfo, error) {
	data, mime, err := s.GetManifest(ctx, &instance)
	if err != nil {
		return nil, err
	}
	digests, err := layerDigests(data, mime)
	if err != nil {
		return nil, err
	}
	for _, d := range digests {
		s.own(source, d)
	}
	return nil, nil
}

// GetSignatures returns the signatures of the list or of an image.
func (s *listSource) GetSignatures(ctx context.Context, instance *digest.Digest) ([][]byte, error) {
	if instance == nil {
		return s.ImageSource.GetSignatures(ctx, nil)
	}
	source, err := s.open(ctx, *instance)
	if err != nil {
		return nil, err
	}
	return source.GetSignatures(ctx, nil)
}

// GetBlob opens a blob of the image that named it first.
func (s *listSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	s.mu.Lock()
	source := s.owners[info.Digest]
	s.mu.Unlock()
	if source == nil {
		source = s.ImageSource
	}
	return source.GetBlob(ctx, info, cache)
}

// HasThreadSafeGetBlob tells that several blobs may be read at once: every source that an image of a list may have,
// the store's and the registries', allows it.
func (s *listSource) HasThreadSafeGetBlob() bool { return true }

// Close closes the list and its images.
func (s *listSource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := []error{s.ImageSource.Close()}
	for _, source := range s.opened {
		errs = append(errs, source.Close())
	}
	return errors.Join(errs...)
}
