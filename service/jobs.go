package service

import (
	"context"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/errdefs"
	enginejobs "github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// prefix is what an engine's method name lacks to be a Varlink one.
const prefix = "io.imaged."

// jobsService is io.imaged.jobs.
type jobsService struct{ engine *engine.Engine }

// List lists the jobs that the caller may see.
func (s jobsService) List(ctx context.Context, _ jobs.ListIn, send func(jobs.ListOut) error) (jobs.ListOut, error) {
	call := varlink.CallFrom(ctx)
	var all []jobs.Job
	for _, j := range s.engine.Jobs().List(call.Peer().UID) {
		all = append(all, jobOf(j))
	}
	for call.WantsMore() && len(all) > 1 {
		if err := send(jobs.ListOut{Jobs: all[:1]}); err != nil {
			return jobs.ListOut{}, err
		}
		all = all[1:]
	}
	return jobs.ListOut{Jobs: all}, nil
}

// Attach watches a job.
func (s jobsService) Attach(ctx context.Context, in jobs.AttachIn, send func(jobs.AttachOut) error) (jobs.AttachOut, error) {
	watch, err := s.engine.Jobs().Attach(in.Job, varlink.CallFrom(ctx).Peer().UID)
	if err != nil {
		return jobs.AttachOut{}, failure(jobs.Interface, err)
	}
	result, err := follow(ctx, watch, func(n news) error {
		return send(recode[jobs.AttachOut](transfers.PullOut{Job: n.job, Progress: n.progress, Lines: n.lines}))
	})
	if err != nil {
		return jobs.AttachOut{}, failure(interfaceOf(prefix+watch.Method()), err)
	}
	last := resultOf(result)
	out := recode[jobs.AttachOut](last)
	out.Result, err = json.Marshal(last)
	return out, err
}

// Wait waits for the end of a job.
func (s jobsService) Wait(ctx context.Context, in jobs.WaitIn) (jobs.WaitOut, error) {
	j, err := s.engine.Jobs().Wait(ctx, in.Job, varlink.CallFrom(ctx).Peer().UID)
	if err != nil && ctx.Err() != nil {
		err = &errdefs.Cancelled{Job: in.Job, Err: err}
	}
	if err != nil {
		return jobs.WaitOut{}, failure(jobs.Interface, err)
	}
	return jobs.WaitOut{Job: jobOf(j)}, nil
}

// Cancel cancels a job.
func (s jobsService) Cancel(ctx context.Context, in jobs.CancelIn) (jobs.CancelOut, error) {
	err := s.engine.Jobs().Cancel(in.Job, varlink.CallFrom(ctx).Peer().UID)
	return jobs.CancelOut{}, failure(jobs.Interface, err)
}

func jobOf(j enginejobs.Job) jobs.Job {
	out := jobs.Job{
		ID: j.ID, Method: prefix + j.Method, Subject: j.Subject, Started: stamp(j.Started), State: jobs.State(j.State),
		Watchers: int64(j.Watchers), UID: int64(j.UID), Progress: recode[*jobs.Progress](progressOf(j.Progress)),
	}
	if !j.Finished.Equal(time.Time{}) {
		out.Finished = new(stamp(j.Finished))
	}
	if j.Err != nil {
		out.Error, out.Reason = new(errorName(out.Method, j.Err)), new(message(j.Err))
	}
	return out
}
