package engine

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/blobinfocache"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/imaged-project/imaged/engine/direct"
	"github.com/imaged-project/imaged/engine/progress"
	"github.com/imaged-project/imaged/engine/staging"
)

// stageState is what all pulls share that unpack layers beside the store.
type stageState struct {
	stager     *staging.Stager
	impossible atomic.Bool         // with this store; the library unpacks
	extra      *semaphore.Weighted // layers in work besides the one that each pull may always have
}

// open makes ready for a store, and removes what killed processes left beside it, if the disk lets it.
func (s *stageState) open(store storage.Store, tmp string, log logrus.FieldLogger) error {
	s.extra = semaphore.NewWeighted(int64(max(8, 2*runtime.NumCPU())))
	var err error
	s.stager, err = staging.New(store, tmp)
	if errors.Is(err, staging.ErrImpossible) {
		s.impossible.Store(true)
		return nil
	}
	if err != nil {
		return err
	}
	if err := staging.Sweep(store); err != nil {
		log.WithError(err).Warn("layers that were left unpacked beside the store are still there")
	}
	return nil
}

// stagedTypes are the types of layers that are unpacked beside the store.
var stagedTypes = []string{
	manifest.DockerV2SchemaLayerMediaTypeUncompressed, manifest.DockerV2Schema2LayerMediaType,
	manifest.DockerV2Schema2ForeignLayerMediaType, manifest.DockerV2Schema2ForeignLayerMediaTypeGzip,
	ociv1.MediaTypeImageLayer, ociv1.MediaTypeImageLayerGzip, ociv1.MediaTypeImageLayerZstd,
	ociv1.MediaTypeImageLayerNonDistributable, ociv1.MediaTypeImageLayerNonDistributableGzip, //nolint:staticcheck // images have them
	ociv1.MediaTypeImageLayerNonDistributableZstd, //nolint:staticcheck // images have them
}

// canStage tells whether the plan's layers are all such that they can be unpacked beside the store.
func (s *stageState) canStage(plan *pullPlan) bool {
	if s.impossible.Load() || plan.chain == nil {
		return false
	}
	return !slices.ContainsFunc(plan.layers(), func(l manifest.LayerInfo) bool {
		return l.CryptoOperation != types.PreserveOriginalCrypto || l.Digest.Algorithm() != digest.Canonical ||
			!slices.Contains(stagedTypes, l.MediaType)
	}) && !slices.ContainsFunc(plan.diffIDs, func(d digest.Digest) bool { return d.Algorithm() != digest.Canonical })
}

// stage brings the planned image's layers into the store, as far as they are missing, so that the library finds all of
// them there. Where that is not possible, it does nothing, and the library does it.
func (a *attempt) stage(source *countingSource) error {
	if a.unstaged || !a.e.stage.canStage(source.plan) {
		return nil
	}
	s, err := a.newStageRun(source)
	if err == nil && len(s.missing) > 0 {
		err = s.run(a.ctx)
	}
	if errors.Is(err, staging.ErrImpossible) {
		a.e.stage.impossible.Store(true)
		return nil
	}
	return err
}

// stagedLayer is a layer that has to be brought into the store.
type stagedLayer struct {
	blob       types.BlobInfo
	diffID     digest.Digest
	id, parent string
	twin       *stagedLayer   // a lower one of the same blob; nil: none
	ready      chan struct{}  // closed when staged is set
	applied    chan struct{}  // closed when the store has it
	staged     *staging.Layer // nil: not yet, or not any more
}

// stageRun is one attempt's work of staging.
type stageRun struct {
	*attempt
	source  *countingSource
	cache   types.BlobInfoCache
	budget  *staging.Budget
	missing []*stagedLayer // lowest first
}

// newStageRun finds out which layers are missing.
func (a *attempt) newStageRun(source *countingSource) (*stageRun, error) {
	s := &stageRun{
		attempt: a, source: source, cache: blobinfocache.DefaultCache(a.sys), budget: source.budget,
	}
	parent, blobs := "", make(map[digest.Digest]*stagedLayer)
	for i, l := range source.plan.layers() {
		id := source.plan.chain[i]
		_, err := a.e.store.Layer(id)
		switch {
		case errors.Is(err, storage.ErrLayerUnknown):
			missing := &stagedLayer{
				blob: l.BlobInfo, diffID: source.plan.diffIDs[i], id: id, parent: parent, twin: blobs[l.Digest],
				ready: make(chan struct{}), applied: make(chan struct{}),
			}
			s.missing = append(s.missing, missing)
			if missing.twin == nil {
				blobs[l.Digest] = missing
			}
		case err != nil:
			return nil, a.e.localError("look for layer "+id, err)
		}
		parent = id
	}
	return s, nil
}

// unpack brings one layer beside the store: out of the store itself, if it has it above another parent, or else from
// where the image comes from.
func (s *stageRun) unpack(ctx context.Context, l *stagedLayer) error {
	if l.twin != nil { // it is lower, so it does not wait for this one
		select {
		case <-l.twin.applied:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	staged, err := s.unpackLocal(ctx, l)
	if staged == nil && err == nil {
		staged, err = s.unpackSource(ctx, l)
	}
	l.staged = staged
	return err
}

// unpackSource unpacks what comes from the source.
func (s *stageRun) unpackSource(ctx context.Context, l *stagedLayer) (*staging.Layer, error) {
	staged, err := s.e.stage.stager.Stage(ctx, staging.Source{
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			s.copying(l.blob.Digest)
			body, _, err := s.source.openLayer(ctx, l.blob, s.cache)
			return body, err
		},
		Digest: l.blob.Digest, DiffID: l.diffID,
	}, s.budget)
	if err == nil {
		s.cache.RecordDigestUncompressedPair(l.blob.Digest, l.diffID)
	}
	return staged, err
}

// unpackLocal unpacks a layer of the store once more. It returns nil if there is none, or if it is not whole.
func (s *stageRun) unpackLocal(ctx context.Context, l *stagedLayer) (*staging.Layer, error) {
	layer := s.findLocal(l)
	if layer == nil {
		return nil, nil
	}
	tar, err := direct.Layer(s.e.store, layer.ID, layer.UncompressedDigest)
	if err != nil || tar == nil {
		return nil, nil //nolint:nilerr // it is fetched instead
	}
	compressed := l.diffID
	if layer.CompressedDigest == l.blob.Digest {
		compressed = l.blob.Digest
	}
	name := l.blob.Digest.String()
	s.reporter.Progress().SetState(name, progress.BlobSkipped)
	staged, err := s.e.stage.stager.Stage(ctx, staging.Source{
		Open:   func(context.Context) (io.ReadCloser, error) { return tar, nil },
		DiffID: l.diffID, Compressed: compressed,
	}, s.budget)
	if err != nil && ctx.Err() == nil && !errors.Is(err, staging.ErrImpossible) {
		s.line("layer %s of the store is not whole (%s); fetching it", layer.ID, err)
		s.reporter.Progress().SetState(name, progress.BlobWaiting)
		return nil, nil
	}
	return staged, err
}

// findLocal finds a layer of the store with the same content. What the configuration says of a blob is not enough for
// that: someone must have seen that it is true.
func (s *stageRun) findLocal(l *stagedLayer) *storage.Layer {
	layers, err := s.e.store.LayersByCompressedDigest(l.blob.Digest)
	if err != nil && (l.blob.Digest == l.diffID || s.cache.UncompressedDigest(l.blob.Digest) == l.diffID) {
		layers, err = s.e.store.LayersByUncompressedDigest(l.diffID)
	}
	if err != nil {
		return nil
	}
	at := slices.IndexFunc(layers, func(have storage.Layer) bool { return have.UncompressedDigest == l.diffID })
	if at < 0 {
		return nil
	}
	return &layers[at]
}
