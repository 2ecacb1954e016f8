package jobs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/progress"
)

// errShutdown is the cause of a cancellation because the daemon is going down.
var errShutdown = errors.New("the daemon is going down")

// State says how a job stands.
type State string

// The states of a job.
const (
	// Running: it has no result yet.
	Running State = "running"
	// Done: it ended well.
	Done State = "done"
	// Failed: it ended with an error.
	Failed State = "failed"
	// Cancelled: it was cancelled; its work may still be stopping.
	Cancelled State = "cancelled"
)

// Spec says what a job does.
type Spec struct {
	// Method is what started it, as transfers.Pull.
	Method string
	// Subject is what it works on: a reference, a name. Never with a credential.
	Subject string
	// Key tells equal work: a second Start with the same Method, UID and Key joins the first. Make it with
	// Manager.Key. Empty: joins nothing.
	Key string
	// UID is the user who owns the job.
	UID uint32
	// Detach: the job goes on when nobody watches it.
	Detach bool
	// Run does the work. ctx ends when the job is cancelled. The error it returns should be one of errdefs.
	Run func(ctx context.Context, r *Reporter) (any, error)
}

// Job is how a job stands at one moment.
type Job struct {
	// ID names it: 16 hex digits.
	ID string
	// Method and Subject are those of its Spec.
	Method, Subject string
	// Started is when it began.
	Started time.Time
	// Finished is when it had its result; zero while it runs.
	Finished time.Time
	// State is how it stands.
	State State
	// Watchers is how many watch it.
	Watchers int
	// UID is the user who owns it.
	UID uint32
	// Progress is how far it is, with all its blobs; nil if it has not said so yet.
	Progress *progress.Snapshot
	// Err is the error it ended with, if any.
	Err error
}

// Reporter is how a job's work tells what it does. All methods are safe for concurrent use, and do nothing once the
// job has its result.
type Reporter struct{ job *job }

// Job returns the job's id.
func (r *Reporter) Job() string { return r.job.id }

// Progress returns the job's tracker.
func (r *Reporter) Progress() *progress.Tracker { return r.job.tracker }

// Line says one line, given without its newline. One longer than 16 KiB becomes several.
func (r *Reporter) Line(source Source, text string) { r.job.log.add(source, text) }

// job is a job. The Manager's mutex guards the fields below the line.
type job struct {
	id      string
	join    joinKey
	subject string
	started time.Time
	tracker *progress.Tracker
	log     lineLog
	stop    context.CancelCauseFunc // ends the work's context
	ended   chan struct{}           // closed when the result is there
	drained chan struct{}           // closed when the work has returned

	// ---
	state    State
	finished time.Time
	watchers int
	detached bool
	result   any
	err      error
}

func newJob(s Spec, k joinKey, stop context.CancelCauseFunc) *job {
	var id [8]byte
	rand.Read(id[:])
	return &job{
		id: hex.EncodeToString(id[:]), join: k, subject: s.Subject, started: time.Now(), tracker: progress.New(),
		stop: stop, ended: make(chan struct{}), drained: make(chan struct{}), state: Running, detached: s.Detach,
	}
}

// info describes the job. The Manager's mutex is held.
func (j *job) info() Job {
	info := Job{
		ID: j.id, Method: j.join.method, Subject: j.subject, Started: j.started, Finished: j.finished, State: j.state,
		Watchers: j.watchers, UID: j.join.uid, Err: j.err,
	}
	if s, revision := j.tracker.Since(0); revision > 0 {
		info.Progress = &s
	}
	return info
}

// work is what a job does.
type work func(context.Context, *Reporter) (any, error)

// run does a job's work, after that of an equal job before it has returned.
func (m *Manager) run(ctx context.Context, j *job, do work, before *job) {
	defer m.drain(j)
	if before != nil {
		phase := j.tracker.Phase()
		j.tracker.SetPhase(progress.Waiting)
		<-before.drained
		j.tracker.SetPhase(phase)
	}
	var result any
	err := context.Cause(ctx)
	if err == nil {
		result, err = m.guard(ctx, j, do)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.finish(j, result, err)
}

// guard does the work and turns a panic into an error.
func (m *Manager) guard(ctx context.Context, j *job, do work) (result any, err error) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		if m.options.Panicked != nil {
			m.options.Panicked(j.id, value, debug.Stack())
		}
		result, err = nil, &errdefs.Failed{Reason: fmt.Sprintf("job %s: internal error", j.id)}
	}()
	return do(ctx, &Reporter{j})
}

// drain records that a job's work has returned.
func (m *Manager) drain(j *job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j.stop(nil)
	close(j.drained)
	m.running--
	if m.joins[j.join] == j {
		delete(m.joins, j.join)
	}
}

// finish gives the job its result, unless it has one. The mutex is held.
func (m *Manager) finish(j *job, result any, err error) {
	if j.state != Running {
		return
	}
	j.state, j.result, j.err = Done, result, err
	if err != nil {
		j.state = Failed
	}
	if _, ok := errors.AsType[*errdefs.Cancelled](err); ok {
		j.state = Cancelled
	}
	j.finished = time.Now()
	j.tracker.Freeze()
	j.log.close()
	close(j.ended)
}

// cancel ends the job with errdefs.Cancelled, unless it has ended. The mutex is held.
func (m *Manager) cancel(j *job, cause error) {
	if j.state != Running {
		return
	}
	cancelled := &errdefs.Cancelled{Job: j.id, Err: cause}
	m.finish(j, nil, cancelled)
	j.stop(cancelled)
}
