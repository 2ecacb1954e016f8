package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/imaged-project/imaged/engine/direct"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/names"
	"github.com/imaged-project/imaged/engine/progress"
)

// saver is the work of one save's job.
type saver struct {
	exporter
	options SaveOptions
	names   []string
	tags    []reference.NamedTagged

	rename   reference.NamedTagged // the only reference that the image is to have; nil: none in particular
	item     string                // the only name that it is to have in OCI's formats; empty: its references
	found    []*savedImage         // set when the job runs
	change   func(*copy.Options)   // changes how it is copied; nil: nothing is changed
	manifest []byte                // that was written last
}

// savedImage is an image that is being saved, with the references it is to have.
type savedImage struct {
	img  *index.Image
	name string // that it was asked for by
	tags []reference.NamedTagged
}

// run saves. It is the Run of the job.
func (s *saver) run(ctx context.Context, r *jobs.Reporter) (result any, err error) {
	s.reporter = r
	out, err := s.openOutput(ctx)
	if err != nil {
		return nil, err
	}
	size, err := s.save(ctx, out)
	err = errors.Join(err, out.close())
	if err != nil && ctx.Err() != nil {
		return nil, &errdefs.Cancelled{Job: r.Job(), Err: context.Cause(ctx)}
	}
	if err != nil {
		return nil, s.explain(out, err)
	}
	return SaveResult{Size: size}, nil
}

func (s *saver) save(ctx context.Context, out *output) (int64, error) {
	images, unlock, err := s.find(ctx)
	defer unlock()
	if err != nil {
		return 0, err
	}
	for _, i := range images {
		s.plan(i.img)
	}
	s.reporter.Progress().Planned()
	s.reporter.Progress().SetPhase(progress.Transferring)
	if s.options.Format == DockerArchive {
		err = s.dockerArchive(ctx, out, images)
	} else {
		err = s.layout(ctx, out, images[0])
	}
	if err != nil {
		return 0, err
	}
	s.reporter.Progress().SetPhase(progress.Committing)
	if err := out.commit(); err != nil {
		return 0, err
	}
	for _, i := range images {
		saved := events.Event{Kind: events.Saved, ID: i.img.ID}
		if len(i.tags) > 0 {
			saved.Name = i.tags[0].String()
		}
		s.e.events.Publish(saved)
	}
	return out.size(), nil
}

// find looks the images up and keeps others from removing them until unlock is called, which is never nil.
func (s *saver) find(ctx context.Context) (images []*savedImage, unlock func(), err error) {
	if images, err = s.lookup(ctx); err != nil {
		return nil, func() {}, err
	}
	s.found = images
	all := make([]*index.Image, 0, len(images))
	for _, i := range images {
		all = append(all, i.img)
	}
	unlock, err = s.e.holdImages(ctx, strings.Join(s.names, " "), all)
	return images, unlock, err
}

// lookup finds what the names mean, each image once, in the order of the names.
func (s *saver) lookup(ctx context.Context) ([]*savedImage, error) {
	snapshot, err := s.e.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	var images []*savedImage
	for _, name := range s.names {
		f, err := s.e.lookup(snapshot, name)
		if err != nil {
			return nil, err
		}
		img := f.img
		if img.Facts.List {
			if img = instance(snapshot, f.img, names.Host()); img == nil {
				return nil, &errdefs.ImageNotFound{Name: name, Reason: fmt.Sprintf("the store has no image for %s of this manifest list", names.Host())}
			}
		}
		at := slices.IndexFunc(images, func(i *savedImage) bool { return i.img == img })
		if at < 0 {
			at = len(images)
			images = append(images, &savedImage{img: img, name: name, tags: slices.Clone(s.tags)})
		}
		images[at].add(f.name)
		if s.rename != nil {
			images[at].tags = []reference.NamedTagged{s.rename}
		}
	}
	return images, nil
}

// add gives the image a reference, in front of those that are more.
func (i *savedImage) add(name string) {
	named, err := reference.ParseNamed(name)
	if err != nil {
		return // found by an id
	}
	tagged, ok := named.(reference.NamedTagged)
	has := func(t reference.NamedTagged) bool { return t.String() == name }
	if ok && !slices.ContainsFunc(i.tags, has) {
		i.tags = slices.Insert(i.tags, 0, tagged)
	}
}

// exporter copies images out of the store and tells how far it is.
type exporter struct {
	e        *Engine
	reporter *jobs.Reporter         // set when the job runs
	upload   atomic.Pointer[upload] // is told of what is read; nil: nobody is
	turns    *semaphore.Weighted    // for big layers; nil: all at once
}

// plan tells the tracker of an image's blobs.
func (x *exporter) plan(img *index.Image) {
	tracker := x.reporter.Progress()
	config := img.Facts.Config
	if config == nil {
		return
	}
	sizes := img.LayerSizes() // topmost first
	for n, d := range config.RootFS.DiffIDs {
		blob := progress.Blob{Digest: d, Kind: progress.Layer}
		if at := len(sizes) - 1 - n; at >= 0 && len(sizes) == len(config.RootFS.DiffIDs) {
			blob.Size = &sizes[at]
		}
		tracker.Add(blob)
	}
	blob := progress.Blob{Digest: digest.Canonical.String() + ":" + img.ID, Kind: progress.Config}
	if raw, err := img.Raw(); err == nil { // else whoever reads it next has the error
		blob.Size = new(int64(len(raw)))
	}
	tracker.Add(blob)
}

// source makes a reference to an image of the store that is read directly.
func (x *exporter) source(id string) (types.ImageReference, error) {
	return direct.Image(x.e.store, id, exportMeter{x}, x.turns)
}

// copy copies an image, or several, out of the store, and returns the manifest that was written.
func (x *exporter) copy(ctx context.Context, dest, source types.ImageReference, o *copy.Options) ([]byte, error) {
	policy, err := x.e.policyContext()
	if err != nil {
		return nil, err
	}
	events := make(chan types.ProgressProperties)
	var reader sync.WaitGroup
	reader.Go(func() {
		for event := range events { // until copy has returned: it blocks on each one
			x.event(event)
		}
	})
	o.Progress, o.ProgressInterval = events, progressInterval
	o.ReportWriter = &lineWriter{say: x.line}
	inner, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	if usesPgzip(dest, o.DestinationCtx) {
		dest = drainingReference{dest, abort}
	}
	manifest, err := copy.Image(inner, policy, dest, source, o)
	close(events)
	reader.Wait()
	if cause := context.Cause(inner); err != nil && cause != nil {
		err = cause // the failure that ended all others
	}
	return manifest, errors.Join(err, policy.Destroy())
}

// event takes over what the library says of a blob. Bytes are counted in the source.
func (x *exporter) event(event types.ProgressProperties) {
	name := event.Artifact.Digest.String()
	switch event.Event {
	case types.ProgressEventDone:
		x.reporter.Progress().SetState(name, progress.BlobDone)
	case types.ProgressEventSkipped:
		x.reporter.Progress().SetState(name, progress.BlobSkipped)
	}
}

func (x *exporter) line(format string, args ...any) {
	x.reporter.Line(jobs.Engine, clean(fmt.Sprintf(format, args...)))
}

// exportMeter is told how the reading goes on. Its bytes are those of the store: uncompressed.
type exportMeter struct{ *exporter }

// Prepare implements direct.Meter: the library reads the layer before it gives it out.
func (m exportMeter) Prepare(d string) {
	m.reporter.Progress().SetState(d, progress.BlobUnpacking)
	if u := m.upload.Load(); u != nil {
		u.pause()
	}
}

// Start implements direct.Meter.
func (m exportMeter) Start(d string) {
	m.reporter.Progress().Start(d)
	m.Read(d, 0)
}

// Read implements direct.Meter.
func (m exportMeter) Read(d string, n int64) {
	m.reporter.Progress().Transferred(d, n)
	if u := m.upload.Load(); u != nil {
		u.sign(false)
	}
}

// Fail implements direct.Meter.
func (m exportMeter) Fail(d string, _ error) {
	m.reporter.Progress().SetState(d, progress.BlobFailed)
}
