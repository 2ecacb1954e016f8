package engine

import (
	"context"
	"errors"
	"strings"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/compression"
	"github.com/containers/image/v5/types"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/progress"
)

// pusher is the work of one push's job.
type pusher struct {
	exporter
	name    string
	options PushOptions
	remote  PullOptions  // how to talk to the registry
	to      *destination // nil: the image's own name
}

// run pushes. It is the Run of the job.
func (p *pusher) run(ctx context.Context, r *jobs.Reporter) (any, error) {
	p.reporter = r
	defer errdefs.Hold(p.remote.Credentials.secrets())()
	data, err := p.push(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, &errdefs.Cancelled{Job: r.Job(), Err: context.Cause(ctx)}
	}
	if err != nil {
		return nil, err
	}
	sum, err := manifest.Digest(data)
	if err != nil {
		return nil, p.e.localError("push "+clean(p.name), err)
	}
	return PushResult{Digest: sum.String()}, nil
}

// push returns the manifest that was pushed.
func (p *pusher) push(ctx context.Context) ([]byte, error) {
	s, f, err := p.e.find(ctx, p.name)
	if err != nil {
		return nil, err
	}
	if p.to == nil {
		if f.name == "" {
			return nil, &errdefs.InvalidParameter{Parameter: "destination", Reason: "it is needed where the image is named by an id or a digest"}
		}
		if p.to, err = parseDestination(f.name); err != nil {
			return nil, err
		}
	}
	if p.to.named == nil {
		return p.toPath(ctx)
	}
	images := p.involved(s, f.img)
	unlock, err := p.e.holdImages(ctx, p.name, images)
	defer unlock()
	if err != nil {
		return nil, err
	}
	for _, img := range images {
		p.plan(img)
	}
	p.reporter.Progress().Planned()
	source, err := p.sourceOf(s, f.img)
	if err != nil {
		return nil, p.e.localError("push "+clean(p.name), err)
	}
	pushed, err := p.toRegistry(ctx, source, f.img.Facts.List)
	if err == nil {
		p.e.events.Publish(events.Event{Kind: events.Pushed, ID: f.img.ID, Name: p.to.named.String()})
	}
	return pushed, err
}

// toRegistry tries until it works, fails for good, or fails too often.
func (p *pusher) toRegistry(ctx context.Context, source types.ImageReference, list bool) ([]byte, error) {
	dest, err := docker.NewReference(p.to.named)
	if err != nil {
		return nil, &errdefs.InvalidReference{Reference: clean(p.to.text), Reason: clean(err.Error()), Err: quiet{err}}
	}
	talk := &puller{e: p.e, options: p.remote, limits: p.e.pullLimits, reporter: p.reporter}
	var pushed []byte
	err = talk.retry(ctx, p.to.named, func(a *attempt) error {
		a.sends = true
		o := p.copyOptions(a.sys)
		if list {
			o.ImageListSelection = copy.CopySpecificImages
			if p.options.All {
				o.ImageListSelection = copy.CopyAllImages
			}
		}
		p.reporter.Progress().SetPhase(progress.Transferring)
		u := a.startUpload()
		p.upload.Store(u)
		defer u.stop()
		var err error
		pushed, err = p.copy(u.ctx, dest, source, o)
		if err != nil && list && !p.options.All && strings.Contains(err.Error(), "blob unknown to registry") {
			err = &errdefs.ReferenceNotFound{
				Reference: p.to.named.String(), Registry: a.origin.registry, Err: quiet{err},
				Reason: "not all images of this manifest list are there: push them too, with all",
			}
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		err = talk.withAttempts(err)
	}
	return pushed, err
}

// copyOptions makes the options for the library. The system's context is for the destination only: the source of a list
// may be registries, too, which must not get its credentials.
func (p *pusher) copyOptions(sys *types.SystemContext) *copy.Options {
	p.compress(sys)
	return &copy.Options{
		RemoveSignatures: p.options.RemoveSignatures, SignBy: p.options.SignBy, ForceManifestMIMEType: mimeOf(p.options.Format),
		SourceCtx: p.e.systemContext(), DestinationCtx: sys, ForceCompressionFormat: p.forced(),
		MaxParallelDownloads: uint(p.e.hosts.ParallelCopies()),
	}
}

// forced tells whether layers are compressed as the options say whatever the destination has.
func (p *pusher) forced() bool {
	if force := p.options.ForceCompression; force != nil {
		return *force
	}
	return p.options.CompressionFormat != ""
}

// compress sets how layers are compressed.
func (p *pusher) compress(sys *types.SystemContext) {
	algorithm := compression.Gzip
	switch p.options.CompressionFormat {
	case Zstd:
		algorithm = compression.Zstd
	case ZstdChunked:
		algorithm = compression.ZstdChunked
	}
	if p.options.CompressionFormat != "" || p.forced() {
		sys.CompressionFormat = &algorithm
	}
	sys.CompressionLevel = p.options.CompressionLevel
}

func mimeOf(f ManifestFormat) string {
	switch f {
	case ManifestOCI:
		return imgspec.MediaTypeImageManifest
	case ManifestV2S1:
		return manifest.DockerV2Schema1SignedMediaType
	case ManifestV2S2:
		return manifest.DockerV2Schema2MediaType
	}
	return ""
}

// toPath pushes to a path: it is a save with a push's options.
func (p *pusher) toPath(ctx context.Context) ([]byte, error) {
	tag, err := p.to.tag()
	if err != nil {
		return nil, err
	}
	s := &saver{
		exporter: exporter{e: p.e}, names: []string{p.name}, rename: tag, item: p.to.item,
		options: SaveOptions{Format: p.to.format, Path: p.to.path, Compress: p.forced() && p.to.format == DockerDir},
		change: func(o *copy.Options) {
			p.compress(o.DestinationCtx)
			o.ForceCompressionFormat = p.forced()
			if p.to.format == DockerDir { // it takes any
				o.ForceManifestMIMEType = mimeOf(p.options.Format)
			}
		},
	}
	if _, err := s.run(ctx, p.reporter); err != nil {
		if denied, ok := errors.AsType[*errdefs.InvalidParameter](err); ok {
			return nil, &errdefs.InvalidReference{Reference: clean(p.to.text), Reason: denied.Reason}
		}
		return nil, err
	}
	return s.manifest, nil
}
