package service

import (
	"context"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/progress"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// news is what every stream of a job carries besides the fields of its result.
type news struct {
	job      *string
	progress *transfers.Progress
	lines    []transfers.Line
}

// follow passes on what happens in a job that the caller watches, then returns its result. It leaves the job when it
// returns. Errors are the engine's.
func follow(ctx context.Context, w *jobs.Watch, send func(news) error) (any, error) {
	defer w.Close()
	if err := send(news{job: new(w.Job())}); err != nil {
		return nil, err
	}
	for u, err := range w.Updates(ctx) {
		if err != nil {
			return nil, left(ctx, w, err)
		}
		if err := send(news{progress: progressOf(u.Progress), lines: linesOf(u.Lines)}); err != nil {
			return nil, err
		}
	}
	result, err := w.Result(ctx)
	return result, left(ctx, w, err)
}

// left makes the end of a call that ended before its job an error that says so.
func left(ctx context.Context, w *jobs.Watch, err error) error {
	if err == nil || ctx.Err() == nil || errdefs.Known(err) {
		return err
	}
	return &errdefs.Cancelled{Job: w.Job(), Err: err}
}

func progressOf(s *progress.Snapshot) *transfers.Progress {
	if s == nil {
		return nil
	}
	p := &transfers.Progress{
		Phase: transfers.Phase(s.Phase), Done: s.Done, Total: s.Total, Cached: s.Cached, BytesPerSecond: s.BytesPerSecond,
		LayersDone: int64(s.LayersDone),
	}
	if s.LayersTotal != nil {
		p.LayersTotal = new(int64(*s.LayersTotal))
	}
	for _, b := range s.Blobs {
		p.Blobs = append(p.Blobs, transfers.Blob{
			Digest: b.Digest, Kind: transfers.BlobKind(b.Kind), State: transfers.BlobState(b.State), Offset: b.Offset, Size: b.Size,
		})
	}
	return p
}

func linesOf(lines []jobs.Line) []transfers.Line {
	var out []transfers.Line
	for _, l := range lines {
		out = append(out, transfers.Line{Source: transfers.LineSource(l.Source), Text: l.Text})
	}
	return out
}
