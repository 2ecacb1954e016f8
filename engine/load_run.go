package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/progress"
)

// uploadBlob is what the tracker calls an upload that has to be written down before it can be read.
const uploadBlob = "upload"

// loader is the work of a load's job.
type loader struct {
	e    *Engine
	in   *input
	name string // complete; empty: none
}

// run loads. It is the Run of the job.
func (l *loader) run(ctx context.Context, r *jobs.Reporter) (result any, err error) {
	defer func() {
		if e := l.in.close(); e != nil && err == nil {
			l.e.log.WithError(e).Warn("load: closing what was read")
		}
	}()
	archive, err := l.e.openArchive(ctx, r, l.in)
	if err != nil {
		return nil, l.e.archiveError(ctx, r, err)
	}
	uploaded(r.Progress())
	result, err = l.load(ctx, r, archive)
	return result, l.e.archiveError(ctx, r, errors.Join(err, archive.Close()))
}

func (l *loader) load(ctx context.Context, r *jobs.Reporter, archive *archives.Archive) (any, error) {
	images := archive.Images()
	if l.name != "" && len(images) > 1 {
		return nil, &errdefs.InvalidParameter{Parameter: "name", Reason: fmt.Sprintf("the archive holds %d images; a name can be given to a single one only", len(images))}
	}
	s := &storing{e: l.e, reporter: r, kind: events.Loaded}
	var result LoadResult
	for _, img := range images {
		to := slices.Clone(img.Names())
		if l.name != "" && !slices.Contains(to, l.name) {
			to = append(to, l.name)
		}
		s.add(img, to)
		result.IDs = append(result.IDs, img.ID())
		if len(to) == 0 {
			to = []string{"sha256:" + img.ID()}
		}
		result.Names = append(result.Names, to...)
	}
	return result, s.run(ctx)
}

// openArchive opens the archive that an upload or a path is.
func (e *Engine) openArchive(ctx context.Context, r *jobs.Reporter, in *input) (*archives.Archive, error) {
	o := e.archiveOptions(r)
	if in.path != "" {
		archive, err := archives.OpenPath(ctx, in.path, o)
		return archive, badPath(err)
	}
	stop := closeOnCancel(ctx, in)
	defer stop()
	return archives.Open(ctx, reading(in), o)
}

// reading returns what the input reads from, so that a regular file shows as one.
func reading(in *input) io.Reader { return in.ReadCloser }

// closeOnCancel makes a read of an input return when the context ends, where nothing else does: files are polled.
func closeOnCancel(ctx context.Context, in *input) (stop func() bool) {
	if _, ok := in.ReadCloser.(interface{ Fd() uintptr }); ok || in.ReadCloser == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() { _ = in.ReadCloser.Close() }) // its reader gets the error
}

// archiveOptions returns how archives are opened. What has to be written down first counts as a blob.
func (e *Engine) archiveOptions(r *jobs.Reporter) archives.Options {
	a := &arrival{tracker: r.Progress()}
	return archives.Options{TmpDir: e.tmp.path, Limits: e.archiveLimits, Platform: e.systemContext(), Progress: a.came}
}

// arrival tells a tracker of what comes.
type arrival struct {
	tracker *progress.Tracker
	started bool
}

func (a *arrival) came(n int64) {
	if !a.started {
		a.started = true
		a.tracker.Add(progress.Blob{Digest: uploadBlob, Kind: progress.Other})
		a.tracker.SetPhase(progress.Transferring)
		a.tracker.Start(uploadBlob)
	}
	a.tracker.Transferred(uploadBlob, n)
}

// uploaded tells a tracker that all has come, if anything did.
func uploaded(t *progress.Tracker) {
	if s, _ := t.Since(0); len(s.Blobs) > 0 {
		t.SetState(uploadBlob, progress.BlobDone)
	}
}

// archiveError turns an error of reading an archive into one of errdefs.
func (e *Engine) archiveError(ctx context.Context, r *jobs.Reporter, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &errdefs.Cancelled{Job: r.Job(), Err: context.Cause(ctx)}
	case errdefs.Known(err):
		err = errdefs.Find(err)
		return withTries(err, err)
	}
	return e.localError("read archive", quiet{err})
}
