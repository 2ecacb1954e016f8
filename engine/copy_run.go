package engine

import (
	"context"
	"errors"
	"sync"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/progress"
	"github.com/imaged-project/imaged/engine/staging"
)

// copier is the work of a copy's job.
type copier struct {
	e        *Engine
	options  CopyOptions
	from, to *place
	reporter *jobs.Reporter // set when the job runs
}

// run copies. It is the Run of the job.
func (c *copier) run(ctx context.Context, r *jobs.Reporter) (any, error) {
	c.reporter = r
	defer errdefs.Hold(c.options.SourceCredentials.secrets())()
	defer errdefs.Hold(c.options.DestinationCredentials.secrets())()
	c.e.pulls.enter()
	result, err := c.copy(ctx)
	c.e.pulls.leave(c.e.store)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, &errdefs.Cancelled{Job: r.Job(), Err: context.Cause(ctx)}
	case err != nil:
		return nil, c.e.archiveError(ctx, r, err)
	case c.to.transport == transportStore:
		r.Progress().SetPhase(progress.Committing)
		err = c.e.durable()
	}
	return result, err
}

func (c *copier) copy(ctx context.Context) (result CopyResult, err error) {
	ref, done, err := c.open(ctx)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, done()) }()
	p := c.puller()
	if c.to.named != nil {
		p.others = []party{{c.destination().systemContext(), originAt(c.to, c.destination())}}
	}
	err = p.attempt(ctx, originAt(c.from, p), func(a *attempt) error {
		d, err := c.copyFrom(a, ref)
		result.Digest = d.String()
		return err
	})
	return result, err
}

// originAt is whom a place's errors name.
func originAt(at *place, p *puller) origin {
	if at.named == nil {
		return origin{reference: clean(at.text)}
	}
	return p.originOf(at.named)
}

// puller makes a puller with the source's settings. Nothing is tried again: what was written cannot always be taken back.
func (c *copier) puller() *puller {
	p := localPuller(c.e, c.reporter)
	if c.from.transport == transportRegistry {
		p.options.StallTimeout = new(defaultStallTimeout)
	}
	p.options.Credentials, p.options.TLSVerify = c.options.SourceCredentials, c.options.SourceTLSVerify
	return p
}

// open makes a reference to the source. Done frees what it needs.
func (c *copier) open(ctx context.Context) (ref types.ImageReference, done func() error, err error) {
	done = func() error { return nil }
	switch c.from.transport {
	case transportRegistry:
		ref, err = docker.NewReference(c.from.named)
		return ref, done, err
	case transportStore:
		return c.openStored(ctx)
	}
	o := c.e.archiveOptions(c.reporter)
	o.All = c.options.All
	archive, err := archives.OpenPath(ctx, c.from.path, o)
	if err != nil {
		return nil, nil, badPlace(c.from, err)
	}
	if err := c.from.checkKind(archive); err != nil {
		return nil, nil, errors.Join(err, archive.Close())
	}
	img, err := archive.Find(c.from.item)
	if err != nil {
		return nil, nil, errors.Join(err, archive.Close())
	}
	return localReference{img.Reference(), c.e}, archive.Close, nil
}

// badPlace makes an error of a path that cannot be opened one of the place.
func badPlace(p *place, err error) error {
	if bad, ok := errors.AsType[*errdefs.InvalidParameter](badPath(err)); ok {
		return &errdefs.InvalidReference{Reference: clean(p.text), Reason: bad.Reason}
	}
	return err
}

// checkKind holds what an archive is against what it was called.
func (p *place) checkKind(archive *archives.Archive) error {
	for _, kind := range kindsOf[p.transport] {
		if kind == archive.Kind() {
			return nil
		}
	}
	return &errdefs.InvalidArchive{Reason: clean(p.text) + ": it is of the kind " + string(archive.Kind())}
}

// noMeter counts nothing: the source that is copied from is counted around it.
type noMeter struct{}

func (noMeter) Prepare(string)     {}
func (noMeter) Start(string)       {}
func (noMeter) Read(string, int64) {}
func (noMeter) Fail(string, error) {}

// copyFrom opens the source, judges it and copies it.
func (c *copier) copyFrom(a *attempt, ref types.ImageReference) (digest.Digest, error) {
	a.reporter.Progress().SetPhase(progress.Resolving)
	var source types.ImageSource
	err := a.guard.do(a.ctx, func(ctx context.Context) { a.suspect(ctx, "") }, func(ctx context.Context) (err error) {
		source, err = ref.NewImageSource(ctx, a.sys)
		return err
	})
	if err != nil {
		return "", err
	}
	if c.options.All {
		if list, err := c.planList(a, source); err != nil || list != nil {
			if err != nil {
				return "", errors.Join(err, source.Close())
			}
			if c.to.transport == transportDockerArchive {
				return "", errors.Join(&errdefs.InvalidFormat{
					Format: string(DockerArchive), Reason: "it holds no manifest list", Supported: []string{string(OCIArchive), string(OCIDir), string(DockerDir)},
				}, source.Close())
			}
			return c.write(a, allReference{ref, &allSource{source, a, *list}}, copy.CopyAllImages)
		}
	}
	plan, err := a.planLocal(a.ctx, source)
	if err != nil {
		return "", errors.Join(err, source.Close())
	}
	opened := openedReference{ref, &countingSource{ImageSource: source, attempt: a, plan: plan}}
	if c.to.transport == transportStore {
		return c.storeImage(a, opened, plan)
	}
	if c.from.transport == transportRegistry && c.to.transport == transportDockerArchive { // where layers are not compressed
		opened.source.budget = staging.NewBudget(a.limits.Unpacked, nil)
	}
	a.reporter.Progress().Planned()
	return c.write(a, opened, copy.CopySystemImage)
}

// storeImage puts the image into the store, under its new name.
func (c *copier) storeImage(a *attempt, ref openedReference, plan *pullPlan) (digest.Digest, error) {
	if plan.configDigest == "" {
		return "", errors.Join(&errdefs.InvalidFormat{Format: "v2s1", Reason: "the store does not take it", Supported: []string{"oci", "v2s2"}}, ref.source.Close())
	}
	id, err := a.copy(ref, plan, nil)
	if err != nil {
		return "", err
	}
	if c.from.transport != transportStore { // else it is the very image that is locked as the source
		unlock, err := c.e.lockImage(a.ctx, id)
		if err != nil {
			return "", err
		}
		defer unlock()
	}
	if err := c.e.store.AddNames(id, []string{c.to.name}); err != nil {
		return "", c.e.localError("name image "+id, err)
	}
	return plan.image.digest, nil
}

// write copies to a place that is not the store.
func (c *copier) write(a *attempt, ref types.ImageReference, which copy.ImageListSelection) (digest.Digest, error) {
	dest, finish, err := c.create()
	if err != nil {
		return "", errors.Join(err, closeSource(ref))
	}
	a.reporter.Progress().SetPhase(progress.Transferring)
	data, err := c.runCopy(a, dest, ref, which)
	if err != nil {
		err = c.blame(a, err)
	} else {
		a.reporter.Progress().SetPhase(progress.Committing)
	}
	if err := finish(err); err != nil {
		return "", err
	}
	d, err := manifest.Digest(data)
	if err != nil {
		return "", damaged("manifest", err)
	}
	return d, nil
}

func closeSource(ref types.ImageReference) error {
	switch r := ref.(type) {
	case openedReference:
		return r.source.Close()
	case allReference:
		return r.source.Close()
	}
	return nil
}

// runCopy calls the library. The policy was asked before, about the very manifests that are copied now.
func (c *copier) runCopy(a *attempt, dest, ref types.ImageReference, which copy.ImageListSelection) ([]byte, error) {
	accept, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		return nil, errors.Join(err, closeSource(ref))
	}
	events := make(chan types.ProgressProperties)
	var reader sync.WaitGroup
	reader.Go(func() {
		for event := range events { // until copy has returned: it blocks on each one
			a.event(event)
		}
	})
	ctx := a.ctx
	if c.to.named != nil {
		to := originAt(c.to, c.destination())
		ctx = confineUploads(&attempt{puller: a.puller, ctx: a.ctx, guard: a.guard, origin: to})
	}
	data, err := copy.Image(ctx, accept, dest, ref, &copy.Options{
		ReportWriter: &lineWriter{say: a.line}, SourceCtx: a.sys, DestinationCtx: c.destination().systemContext(),
		ProgressInterval: progressInterval, Progress: events, ImageListSelection: which,
		MaxParallelDownloads: uint(a.e.hosts.ParallelCopies()),
	})
	close(events)
	reader.Wait()
	return data, errors.Join(err, accept.Destroy())
}

// destination has the destination's settings.
func (c *copier) destination() *puller {
	return &puller{e: c.e, options: PullOptions{Credentials: c.options.DestinationCredentials, TLSVerify: c.options.DestinationTLSVerify}}
}

// blame finds out whose an error of copying is: what is not the source's is the destination's.
func (c *copier) blame(a *attempt, err error) error {
	a.mu.Lock()
	first := a.first
	a.mu.Unlock()
	if first != nil || a.ctx.Err() != nil || c.to.transport != transportRegistry {
		return err
	}
	to := &attempt{puller: c.destination(), origin: originAt(c.to, c.destination()), guard: &stallGuard{}}
	to.sys = to.systemContext()
	return to.waiting(a.ctx, c.e.classify(err, to.origin))
}

// planList reads a manifest list and judges all its images. It returns nil if the source is no list.
func (c *copier) planList(a *attempt, source types.ImageSource) (*readManifest, error) {
	top := image.UnparsedInstance(source, nil)
	m, err := a.readManifest(a.ctx, top)
	if err != nil || !manifest.MIMETypeIsMultiImage(m.mime) {
		return nil, err
	}
	list, err := manifest.ListFromBlob(m.bytes, m.mime)
	if err != nil {
		return nil, damaged("manifest list", err)
	}
	instances := list.Instances()
	if most := c.e.archiveLimits.Images; int64(len(instances)) > most {
		return nil, &errdefs.LimitExceeded{Limit: archives.LimitImages, Value: most}
	}
	for _, d := range instances {
		if err := d.Validate(); err != nil {
			return nil, damaged("manifest list", err)
		}
		if err := a.checkPolicy(a.ctx, &pullPlan{unparsed: image.UnparsedInstance(source, &d)}); err != nil {
			return nil, err
		}
	}
	return &m, nil
}
