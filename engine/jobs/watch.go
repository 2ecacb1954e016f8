package jobs

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/progress"
)

const (
	// updateInterval is the least time between two updates of a watcher. The last one does not wait: with it there are ten
	// in a second at most.
	updateInterval = time.Second / 9
	rateInterval   = time.Second // how often a rate is told that falls because nothing happens
)

// Update is what happened since a watcher's last one.
type Update struct {
	// Progress is the newest state, with the blobs that changed since this watcher's last update; nil if nothing
	// changed. A watcher's first one has all blobs.
	Progress *progress.Snapshot
	// Lines are those that were said since, oldest first.
	Lines []Line
}

// Watch is one caller's view of a job. Close may be called from any goroutine, the other methods from one at a time.
type Watch struct {
	manager *Manager
	job     *job
	leave   sync.Once

	next     int64             // number of the first line that was not given out
	revision progress.Revision // of the last progress that was given out
	rate     int64             // bytes a second in the last progress that was given out
}

// watch makes a watch of the job. The mutex is held.
func (m *Manager) watch(j *job) (*Watch, error) {
	if j.watchers >= m.options.MaxWatchers {
		return nil, &errdefs.LimitExceeded{Limit: LimitWatchers, Value: int64(m.options.MaxWatchers)}
	}
	j.watchers++
	return &Watch{manager: m, job: j, next: j.log.tail()}, nil
}

// Job returns the job's id.
func (w *Watch) Job() string { return w.job.id }

// Method returns what started the job, as its Spec said.
func (w *Watch) Method() string { return w.job.join.method }

// Close leaves the job. If nobody else watches it and it is not detached, it is cancelled. Calling it again does
// nothing.
func (w *Watch) Close() {
	w.leave.Do(func() {
		m, j := w.manager, w.job
		m.mu.Lock()
		defer m.mu.Unlock()
		j.watchers--
		if j.watchers > 0 {
			return
		}
		if !j.detached {
			m.cancel(j, nil)
		}
		if j.state != Running {
			j.log.shrink()
		}
	})
}

// Result waits until the job has ended and returns what it ended with: the value and error of its Run, or
// errdefs.Cancelled. If ctx ends first it returns ctx's cause. It may be called without reading Updates.
func (w *Watch) Result(ctx context.Context) (any, error) {
	select {
	case <-w.job.ended: // both may be ready: the result wins
		return w.result()
	default:
	}
	select {
	case <-w.job.ended:
		return w.result()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (w *Watch) result() (any, error) {
	w.manager.mu.Lock()
	defer w.manager.mu.Unlock()
	return w.job.result, w.job.err
}

// Updates yields what happens in the job, at most ten times a second, until the job has ended and everything was
// given out. It ends early with one error: ctx's cause, or errdefs.LimitExceeded if this watcher was so slow that
// lines it had not taken are gone. The job knows nothing of either. Iterating again goes on where the last one ended.
func (w *Watch) Updates(ctx context.Context) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		for {
			ended := w.hasEnded() // before looking, so that nothing is missed after
			u, more, err := w.take()
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				yield(Update{}, err)
				return
			}
			news := u.Progress != nil || len(u.Lines) > 0
			if news && !yield(u, nil) {
				return
			}
			if ended {
				return
			}
			if news {
				w.pause(ctx)
			} else {
				w.await(ctx, more)
			}
		}
	}
}

// news are the channels that say that there is something to take.
type news struct{ progress, lines <-chan struct{} }

// take returns what is new, and what tells of more.
func (w *Watch) take() (Update, news, error) {
	var u Update
	revision, changed := w.job.tracker.Changed()
	lines, next, added, ok := w.job.log.since(w.next)
	if !ok {
		return u, news{}, &errdefs.LimitExceeded{Limit: LimitBacklog, Value: maxBacklog}
	}
	u.Lines, w.next = lines, next
	if revision > w.revision || w.rate > 0 {
		s, revision := w.job.tracker.Since(w.revision)
		if revision > w.revision || s.BytesPerSecond != w.rate {
			u.Progress = &s
		}
		w.revision, w.rate = revision, s.BytesPerSecond
	}
	return u, news{changed, added}, nil
}

// pause waits until the next update is due, or the job or ctx has ended.
func (w *Watch) pause(ctx context.Context) {
	timer := time.NewTimer(updateInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.job.ended:
	case <-ctx.Done():
	}
}

// await waits until there may be something to take.
func (w *Watch) await(ctx context.Context, more news) {
	var decay <-chan time.Time
	if w.rate > 0 {
		timer := time.NewTimer(rateInterval)
		defer timer.Stop()
		decay = timer.C
	}
	select {
	case <-more.progress:
	case <-more.lines:
	case <-decay:
	case <-w.job.ended:
	case <-ctx.Done():
	}
}

func (w *Watch) hasEnded() bool {
	select {
	case <-w.job.ended:
		return true
	default:
		return false
	}
}
