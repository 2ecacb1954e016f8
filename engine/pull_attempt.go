package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/signature"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/progress"
	"github.com/imaged-project/imaged/engine/staging"
)

// progressInterval is how often the library reports.
const progressInterval = 100 * time.Millisecond

// attempt is one try at one place.
type attempt struct {
	*puller
	ctx    context.Context // ends with the job, or when the guard ends the attempt; an attempt lives for one call only
	sys    *types.SystemContext
	origin origin
	guard  *stallGuard
	local  bool // from a path on this host: there is no registry to blame
	// admitted says that the registry has handed out the manifests; it refuses what comes after only if its token has expired.
	admitted bool
	sends    bool // to the registry: what it says when it is asked for the same explains nothing

	mu    sync.Mutex          // guards what follows
	first error               // first error of a transfer: the library's own later ones tell less
	said  map[string]struct{} // lines of the library's that were said before it did
}

// maxAnew is how often a try begins anew because somebody has removed what it was building on.
const maxAnew = 5

// attempt runs one try, and turns its error into one of errdefs. If the store has lost something meanwhile, the try is made
// anew.
func (p *puller) attempt(ctx context.Context, o origin, try func(*attempt) error) error {
	for n := 0; ; n++ {
		err := p.attemptOnce(ctx, o, try)
		if err == nil || ctx.Err() != nil || n == maxAnew || !p.e.hasLost(err) {
			return err
		}
		p.unstaged = p.unstaged || errors.Is(err, staging.ErrLost)
		p.line("%s; this was removed meanwhile, so it begins anew", err)
	}
}

// hasLost tells whether an error is about an image or a layer of the store that was there when it was looked for.
func (e *Engine) hasLost(err error) bool {
	for _, lost := range []error{storage.ErrLayerUnknown, storage.ErrParentUnknown, storage.ErrImageUnknown, storage.ErrNotALayer, storage.ErrNotAnID} {
		if errors.Is(err, lost) {
			return true
		}
	}
	file, ok := errors.AsType[*fs.PathError](err)
	return errors.Is(err, staging.ErrLost) || ok && errors.Is(file, fs.ErrNotExist) && strings.HasPrefix(file.Path, e.store.GraphRoot()+"/")
}

func (p *puller) attemptOnce(ctx context.Context, o origin, try func(*attempt) error) error {
	inner, end := context.WithCancelCause(ctx)
	defer end(nil)
	a := &attempt{puller: p, ctx: inner, sys: p.systemContext(), origin: o}
	a.guard = &stallGuard{timeout: *p.options.StallTimeout, end: end}
	a.confineTokens()
	err := try(a)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return cancelled(ctx)
	}
	return a.failure(err)
}

// failure finds out why the attempt failed.
func (a *attempt) failure(err error) error {
	a.mu.Lock()
	first := a.first
	a.mu.Unlock()
	switch cause := context.Cause(a.ctx); {
	case cause != nil:
		err = cause
	case a.sends: // the library's own error is the one
	case first != nil:
		err = a.explain(a.ctx, first)
	default:
		err = a.explain(a.ctx, err)
	}
	err = a.e.classify(err, a.origin)
	if _, ok := errors.AsType[*errdefs.AuthenticationRequired](err); ok && a.admitted {
		return &expiredError{err}
	}
	return err
}

// expiredError is an AuthenticationRequired of a registry that has let the same attempt in before. The library asks for a
// token once, and takes it to live for a minute at least; a new attempt asks for a new one.
type expiredError struct{ error }

func (e *expiredError) Unwrap() error { return e.error }

// remember keeps the first error of a transfer. That it was cancelled is not one: it was so because of another.
func (a *attempt) remember(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.first == nil && !errors.Is(err, context.Canceled) {
		a.first = err
	}
	return err
}

// pull brings what ref means into the store, under a name if that is not nil, and returns the image's id. With a local
// image that is the same, that one's.
func (a *attempt) pull(ref types.ImageReference, named reference.Named, local *localImage) (string, error) {
	a.reporter.Progress().SetPhase(progress.Resolving)
	var source types.ImageSource
	err := a.guard.do(a.ctx, func(ctx context.Context) { a.suspect(ctx, "") }, func(ctx context.Context) (err error) {
		source, err = ref.NewImageSource(ctx, a.sys)
		return err
	})
	if err != nil {
		return "", a.blame(err)
	}
	plan, err := a.makePlan(a.ctx, source)
	if err != nil {
		return "", errors.Join(a.blame(err), source.Close())
	}
	a.admitted = true
	if local.same(plan) {
		return local.id, source.Close()
	}
	return a.copy(openedReference{ref, &countingSource{ImageSource: source, attempt: a, plan: plan}}, plan, named)
}

// copying says that a blob is on its way, in the words of the library, which says so only when it is there.
func (a *attempt) copying(blob digest.Digest) {
	line := "Copying blob " + blob.String()
	a.mu.Lock()
	if a.said == nil {
		a.said = make(map[string]struct{})
	}
	_, before := a.said[line]
	a.said[line] = struct{}{}
	a.mu.Unlock()
	if !before {
		a.line("%s", line)
	}
}

// libraryLine passes a line of the library's on that was not said before.
func (a *attempt) libraryLine(format string, args ...any) {
	a.mu.Lock()
	_, before := a.said[fmt.Sprintf(format, args...)]
	a.mu.Unlock()
	if !before {
		a.line(format, args...)
	}
}

// blame makes an error of reading from this host an archive's, unless it is known to be another.
func (a *attempt) blame(err error) error {
	if !a.local {
		return err
	}
	known := a.e.classify(err, a.origin)
	if _, ok := errors.AsType[*errdefs.Failed](known); ok {
		return damaged("archive", err)
	}
	return known
}

// copy copies the planned image into the store. It closes the source.
func (a *attempt) copy(ref openedReference, plan *pullPlan, named reference.Named) (string, error) {
	id := ""
	if named == nil {
		id = plan.configDigest.Encoded()
	}
	dest, err := istorage.Transport.NewStoreReference(a.e.store, named, id)
	if err != nil {
		return "", errors.Join(err, ref.source.Close())
	}
	a.findCached(plan)
	tracker := a.reporter.Progress()
	tracker.Planned()
	tracker.SetPhase(progress.Transferring)
	forget := a.e.pulls.foresee(a.e.store, plan.chain)
	ref.source.budget = staging.NewBudget(a.limits.Unpacked, a.e.guard.hasRoom)
	if err := a.stage(ref.source); err != nil {
		return "", errors.Join(err, ref.source.Close())
	}
	stored, err := a.runCopy(dest, ref)
	if err != nil {
		return "", err // foreseen layers that nothing uses go when the last pull has ended
	}
	forget()
	_, image, err := istorage.ResolveReference(stored)
	if err != nil {
		return "", err
	}
	return image.ID, nil
}

// runCopy calls the library. The policy was asked before, about the very manifest that is copied now.
func (a *attempt) runCopy(dest types.ImageReference, source openedReference) (types.ImageReference, error) {
	accept, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		return nil, errors.Join(err, source.source.Close())
	}
	events := make(chan types.ProgressProperties)
	var reader sync.WaitGroup
	reader.Go(func() {
		for event := range events { // until copy has returned: it blocks on each one
			a.event(event)
		}
	})
	var stored types.ImageReference
	_, err = copy.Image(a.ctx, accept, dest, source, &copy.Options{
		ReportWriter: &lineWriter{say: a.libraryLine}, SourceCtx: a.sys, DestinationCtx: a.sys,
		ProgressInterval: progressInterval, Progress: events, ReportResolvedReference: &stored,
		MaxParallelDownloads: uint(a.e.hosts.ParallelCopies()),
	})
	close(events)
	reader.Wait()
	return stored, errors.Join(err, accept.Destroy())
}

// event takes over what the library says of a blob. Bytes are counted in the source, exactly.
func (a *attempt) event(event types.ProgressProperties) {
	tracker, name := a.reporter.Progress(), event.Artifact.Digest.String()
	switch event.Event {
	case types.ProgressEventDone:
		tracker.SetState(name, progress.BlobDone)
	case types.ProgressEventSkipped:
		tracker.SetState(name, progress.BlobSkipped)
	}
}

// findCached tells the tracker of layers that are in the store already.
func (a *attempt) findCached(plan *pullPlan) {
	for _, l := range plan.layers() {
		layers, err := a.e.store.LayersByCompressedDigest(l.Digest)
		if err == nil && len(layers) > 0 {
			a.reporter.Progress().SetState(l.Digest.String(), progress.BlobSkipped)
		}
	}
}

// lineWriter cuts what is written to it into lines. The library writes from several goroutines.
type lineWriter struct {
	say func(format string, args ...any)

	mu   sync.Mutex // guards rest
	rest []byte
}

// Write says every complete line.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		w.say("%s", strings.TrimSuffix(string(line), "\r"))
		w.rest = rest
	}
}
