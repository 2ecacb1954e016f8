package engine

import (
	"context"
	"errors"
	"sync"

	"github.com/imaged-project/imaged/engine/progress"
)

// run unpacks all missing layers at once, and puts them into the store in their order as they get ready.
func (s *stageRun) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waiting := s.queue()
	idle, stopWaiting := context.WithCancel(ctx) // ends also when no layer waits any more
	defer stopWaiting()
	var workers sync.WaitGroup
	for n := range s.workers() {
		workers.Go(func() {
			if n > 0 { // the first needs no turn: whatever others do, each pull goes on
				if s.e.stage.extra.Acquire(idle, 1) != nil {
					return
				}
				defer s.e.stage.extra.Release(1)
			}
			if err := s.work(ctx, waiting); err != nil {
				cancel(err)
			}
			stopWaiting()
		})
	}
	err := s.applyAll(ctx)
	if err != nil {
		_ = s.remember(err)
	}
	cancel(err)
	workers.Wait()
	return errors.Join(err, s.discard())
}

// queue returns a full and closed channel of the layers.
func (s *stageRun) queue() <-chan *stagedLayer {
	waiting := make(chan *stagedLayer, len(s.missing))
	for _, l := range s.missing {
		waiting <- l
	}
	close(waiting)
	return waiting
}

// workers is how many layers are in work at once.
func (s *stageRun) workers() int {
	if !s.source.HasThreadSafeGetBlob() {
		return 1
	}
	return min(len(s.missing), s.e.hosts.ParallelCopies())
}

// work unpacks layers as long as there are some.
func (s *stageRun) work(ctx context.Context, waiting <-chan *stagedLayer) error {
	for l := range waiting {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.unpack(ctx, l); err != nil {
			if ctx.Err() == nil {
				_ = s.remember(err) // before others fail because this one did
			}
			return err
		}
		close(l.ready)
	}
	return nil
}

// applyAll puts the layers into the store. What they consist of is on the disk before the store knows of them: a power
// cut would leave layers that look whole, and that the next pull would build on.
func (s *stageRun) applyAll(ctx context.Context) error {
	for rest := s.missing; len(rest) > 0; {
		select {
		case <-rest[0].ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		ready := rest[:1]
		for len(ready) < len(rest) && isClosed(rest[len(ready)].ready) {
			ready = rest[:len(ready)+1]
		}
		if err := s.e.durableUnless(ctx); err != nil {
			return err
		}
		for _, l := range ready {
			if err := s.apply(ctx, l); err != nil {
				return err
			}
		}
		rest = rest[len(ready):]
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// apply puts a layer into the store, unless another pull has done that meanwhile.
func (s *stageRun) apply(ctx context.Context, l *stagedLayer) error {
	unlock, err := s.e.lockImage(ctx, "layer "+l.id)
	if err != nil {
		return err
	}
	defer unlock()
	staged := l.staged
	l.staged = nil
	if err := staged.Apply(l.id, l.parent); err != nil {
		return s.e.localError("unpack layer", err)
	}
	close(l.applied)
	s.reporter.Progress().SetState(l.blob.Digest.String(), progress.BlobSkipped) // done, if it was fetched
	return nil
}

// discard removes what was unpacked and not used.
func (s *stageRun) discard() error {
	var errs []error
	for _, l := range s.missing {
		if l.staged != nil {
			errs = append(errs, l.staged.Discard())
		}
	}
	return errors.Join(errs...)
}
