package engine

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/progress"
)

// storing puts the images of an archive into the store, all or none: they get their names when all are there, and if
// one cannot be put there, those that were made for it go again.
type storing struct {
	e        *Engine
	reporter *jobs.Reporter
	kind     events.Kind // what is told of each image when it is there
	images   []*archives.Image
	names    map[string][]string // by id, complete, in order
	made     []string            // ids of images that were not there before
}

// add takes an image on, and the names that it is to get.
func (s *storing) add(img *archives.Image, to []string) {
	if s.names == nil {
		s.names = make(map[string][]string)
	}
	if _, ok := s.names[img.ID()]; !ok {
		s.images = append(s.images, img)
	}
	s.names[img.ID()] = append(s.names[img.ID()], to...)
}

// run puts the images into the store and on the disk.
func (s *storing) run(ctx context.Context) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	operation := s.e.events.Begin()
	defer operation.End()
	s.e.pulls.enter()
	err = s.copyAll(ctx)
	if err == nil {
		s.reporter.Progress().SetPhase(progress.Committing)
		err = s.nameAll()
	}
	if err != nil {
		err = errors.Join(err, s.undo())
	}
	s.e.pulls.leave(s.e.store)
	if err != nil {
		return err
	}
	for _, img := range s.images {
		operation.Made(img.ID())
		s.e.guard.settle(img.ID())
	}
	if err := s.e.durable(); err != nil {
		return err
	}
	s.tell()
	return nil
}

// tell publishes what happened, once for each name.
func (s *storing) tell() {
	for _, img := range s.images {
		names := s.names[img.ID()]
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			s.e.events.Publish(events.Event{Kind: s.kind, ID: img.ID(), Name: name})
		}
	}
}

// lock keeps others from removing or renaming the images before all is done. Sorted, so that two loads cannot wait for
// each other.
func (s *storing) lock(ctx context.Context) (func(), error) {
	var ids []string
	for _, img := range s.images {
		ids = append(ids, img.ID())
	}
	slices.Sort(ids)
	var unlocks []func()
	unlock := func() {
		for _, u := range unlocks {
			u()
		}
	}
	for _, id := range ids {
		u, err := s.e.lockImage(ctx, id)
		if err != nil {
			unlock()
			return nil, err
		}
		unlocks = append(unlocks, u)
	}
	return unlock, nil
}

func (s *storing) copyAll(ctx context.Context) error {
	for _, img := range s.images {
		if ctx.Err() != nil {
			return cancelled(ctx)
		}
		if !s.e.store.Exists(img.ID()) {
			s.made = append(s.made, img.ID())
		}
		if err := s.copy(ctx, img); err != nil {
			return err
		}
	}
	return nil
}

// copy copies one image as a pull does, but for the registry.
func (s *storing) copy(ctx context.Context, img *archives.Image) error {
	p := localPuller(s.e, s.reporter)
	ref := localReference{img.Reference(), s.e}
	return p.attempt(ctx, origin{reference: clean(transports.ImageName(ref))}, func(a *attempt) error {
		a.reporter.Progress().SetPhase(progress.Resolving)
		source, err := ref.NewImageSource(a.ctx, a.sys)
		if err != nil {
			return err
		}
		plan, err := a.planLocal(a.ctx, source)
		if err != nil {
			return errors.Join(err, source.Close())
		}
		_, err = a.copy(openedReference{ref, &countingSource{ImageSource: source, attempt: a, plan: plan}}, plan, nil)
		return err
	})
}

// planLocal is makePlan for an image of any platform.
func (a *attempt) planLocal(ctx context.Context, source types.ImageSource) (*pullPlan, error) {
	plan := &pullPlan{}
	if err := a.readManifests(ctx, source, plan); err != nil {
		return nil, err
	}
	if err := a.checkImage(plan); err != nil {
		return nil, err
	}
	if err := a.checkPolicy(ctx, plan); err != nil || plan.configDigest == "" {
		return plan, err
	}
	return plan, a.readConfig(ctx, source, plan)
}

// localPuller makes a puller of something that is at hand: nothing is tried again, and nobody is waited for.
func localPuller(e *Engine, r *jobs.Reporter) *puller {
	return &puller{e: e, reporter: r, limits: e.pullLimits, options: PullOptions{Retries: new(0), StallTimeout: new(time.Duration(0))}}
}

// nameAll gives the images their names. A name that was another image's moves.
func (s *storing) nameAll() error {
	for _, img := range s.images {
		if names := s.names[img.ID()]; len(names) > 0 {
			if err := s.e.store.AddNames(img.ID(), names); err != nil {
				return s.e.localError("name image "+img.ID(), err)
			}
		}
	}
	return nil
}

// undo removes the images that were made, unless someone has named one meanwhile.
func (s *storing) undo() error {
	var errs []error
	for _, id := range slices.Backward(s.made) {
		img, err := s.e.store.Image(id)
		if err != nil || len(img.Names) > 0 {
			continue
		}
		_, err = s.e.store.DeleteImage(id, true)
		if err != nil && !errors.Is(err, storage.ErrImageUnknown) && !errors.Is(err, storage.ErrImageUsedByContainer) {
			errs = append(errs, s.e.localError("remove image "+id, err))
		}
	}
	return errors.Join(errs...)
}

// localReference is a reference whose errors of reading are the host's, not a registry's.
type localReference struct {
	types.ImageReference
	e *Engine
}

// NewImageSource opens the source.
func (r localReference) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	source, err := r.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, r.e.localError("read image", err)
	}
	return localSource{source, r.e}, nil
}

type localSource struct {
	types.ImageSource
	e *Engine
}

// GetBlob opens a blob.
func (s localSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	body, size, err := s.ImageSource.GetBlob(ctx, info, cache)
	if err != nil {
		return nil, 0, s.e.localError("read image", err)
	}
	return localBody{body, s.e}, size, nil
}

type localBody struct {
	io.ReadCloser
	e *Engine
}

// Read reads on.
func (b localBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.e.localError("read image", err)
	}
	return n, err
}
