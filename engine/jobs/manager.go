package jobs

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// Names of the limits, as errdefs.LimitExceeded carries them.
const (
	// LimitRunning is Options.MaxRunning.
	LimitRunning = "jobs.running"
	// LimitWatchers is Options.MaxWatchers.
	LimitWatchers = "jobs.watchers"
	// LimitBacklog is how many lines a watcher may be behind: 10,000, or 4 MiB of text.
	LimitBacklog = "jobs.backlog"
)

// Options are the settings of a Manager. The zero value stands for the defaults.
type Options struct {
	// UID is the daemon's own user, who sees and touches every job, as root does.
	UID uint32
	// MaxRunning is how many jobs may run at once. Zero: 128.
	MaxRunning int
	// MaxWatchers is how many may watch one job at once. Zero: 256.
	MaxWatchers int
	// MaxFinished is how many finished jobs are remembered; the oldest go first. Zero: 256.
	MaxFinished int
	// Remember is how long a finished job is remembered. Zero: 10 minutes.
	Remember time.Duration
	// Panicked is called when a job's work panics, with the job's id, the value and the stack. Nil: nothing is
	// called. The job ends with errdefs.Failed either way.
	Panicked func(job string, value any, stack []byte)
}

func (o *Options) defaults() {
	o.MaxRunning = cmp.Or(o.MaxRunning, 128)
	o.MaxWatchers = cmp.Or(o.MaxWatchers, 256)
	o.MaxFinished = cmp.Or(o.MaxFinished, 256)
	o.Remember = cmp.Or(o.Remember, 10*time.Minute)
}

// Manager owns jobs. Make one with NewManager. All methods are safe for concurrent use.
type Manager struct {
	options Options
	secret  [sha256.Size]byte // of Key
	work    sync.WaitGroup    // the goroutines of all jobs

	mu      sync.Mutex // guards all below, and the fields of every job that say so
	jobs    map[string]*job
	joins   map[joinKey]*job // newest job of each key whose work has not returned
	running int              // jobs whose work has not returned
	closed  bool
}

type joinKey struct {
	uid         uint32
	method, key string
}

// NewManager returns a Manager without jobs.
func NewManager(o Options) *Manager {
	o.defaults()
	m := &Manager{options: o, jobs: make(map[string]*job), joins: make(map[joinKey]*job)}
	rand.Read(m.secret[:])
	return m
}

// Limits returns the settings that are in force.
func (m *Manager) Limits() Options { return m.options }

// Key makes a Spec.Key of parts, which may be secret: it is a keyed hash whose key lives in this process only.
func (m *Manager) Key(parts ...string) string {
	h := hmac.New(sha256.New, m.secret[:])
	for _, p := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		h.Write(length[:])
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Start begins a job, or joins a running one of the same user, method and key, and returns a watch of it, which the
// caller must close. Joining with Detach makes the job a detached one for all.
// It fails with errdefs.LimitExceeded, or with errdefs.Cancelled after Shutdown.
func (m *Manager) Start(s Spec) (*Watch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, &errdefs.Cancelled{Err: errShutdown}
	}
	k := joinKey{s.UID, s.Method, s.Key}
	var before *job
	if s.Key != "" {
		before = m.joins[k]
	}
	if before != nil && before.state == Running {
		w, err := m.watch(before)
		before.detached = before.detached || (s.Detach && err == nil)
		return w, err
	}
	if m.running >= m.options.MaxRunning {
		return nil, &errdefs.LimitExceeded{Limit: LimitRunning, Value: int64(m.options.MaxRunning)}
	}
	m.forget()
	ctx, stop := context.WithCancelCause(context.Background())
	j := newJob(s, k, stop)
	m.jobs[j.id] = j
	if s.Key != "" {
		m.joins[k] = j
	}
	m.running++
	w, err := m.watch(j)
	m.work.Go(func() { m.run(ctx, j, s.Run, before) })
	return w, err
}

// Attach returns a watch of the job for user uid, which the caller must close.
// It fails with errdefs.JobNotFound or errdefs.LimitExceeded.
func (m *Manager) Attach(id string, uid uint32) (*Watch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j, err := m.find(id, uid)
	if err != nil {
		return nil, err
	}
	return m.watch(j)
}

// Cancel cancels the job for all who watch it, as user uid. One that has ended is left as it is.
// It fails with errdefs.JobNotFound.
func (m *Manager) Cancel(id string, uid uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	j, err := m.find(id, uid)
	if err != nil {
		return err
	}
	m.cancel(j, nil)
	return nil
}

// Wait waits until the job has ended, as user uid, and returns how it stands then. It does not count as a watcher.
// It fails with errdefs.JobNotFound, or with ctx's cause.
func (m *Manager) Wait(ctx context.Context, id string, uid uint32) (Job, error) {
	m.mu.Lock()
	j, err := m.find(id, uid)
	m.mu.Unlock()
	if err != nil {
		return Job{}, err
	}
	select {
	case <-j.ended:
	case <-ctx.Done():
		return Job{}, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return j.info(), nil
}

// List returns the jobs that user uid may see, oldest first.
func (m *Manager) List(uid uint32) []Job {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget()
	var list []Job
	for _, j := range m.jobs {
		if m.visible(j, uid) {
			list = append(list, j.info())
		}
	}
	slices.SortFunc(list, func(a, b Job) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// Busy tells whether the work of any job has not returned yet.
func (m *Manager) Busy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running > 0
}

// Shutdown refuses new jobs, cancels all that run and waits until their work has returned or ctx ends, whose cause
// it returns then. It may be called again.
func (m *Manager) Shutdown(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	for _, j := range m.jobs {
		m.cancel(j, errShutdown)
	}
	m.mu.Unlock()
	done := make(chan struct{})
	go func() {
		m.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// find returns the job if it is remembered and uid may see it.
func (m *Manager) find(id string, uid uint32) (*job, error) {
	m.forget()
	if j := m.jobs[id]; j != nil && m.visible(j, uid) {
		return j, nil
	}
	return nil, &errdefs.JobNotFound{Job: id}
}

func (m *Manager) visible(j *job, uid uint32) bool {
	return uid == j.join.uid || uid == m.options.UID || uid == 0
}

// forget drops finished jobs that are too old or too many. Those that are still watched stay.
func (m *Manager) forget() {
	var finished []*job
	for _, j := range m.jobs {
		if j.state == Running || j.watchers > 0 {
			continue
		}
		if time.Since(j.finished) >= m.options.Remember {
			delete(m.jobs, j.id)
			continue
		}
		finished = append(finished, j)
	}
	if len(finished) <= m.options.MaxFinished {
		return
	}
	slices.SortFunc(finished, func(a, b *job) int { return a.finished.Compare(b.finished) })
	for _, j := range finished[:len(finished)-m.options.MaxFinished] {
		delete(m.jobs, j.id)
	}
}
