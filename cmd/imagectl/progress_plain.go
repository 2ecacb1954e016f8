package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// plainInterval is the time between two lines of progress where there is no terminal.
const plainInterval = 10 * time.Second

// plainReporter writes progress as lines, for logs and pipes: one every plainInterval, stalled or not, and the job's own
// lines as they come.
type plainReporter struct {
	out     io.Writer
	now     func() time.Time
	stop    chan struct{}
	stopped sync.WaitGroup

	mu    sync.Mutex
	meter *meter // guarded by mu, as are writes to out
}

func (a *app) newPlainReporter(w work) *plainReporter {
	r := &plainReporter{out: a.streams.Err, now: a.streams.Now, stop: make(chan struct{})}
	r.meter = newMeter(w, r.now())
	say(r.out, "%s %s\n", w.doing, escape(w.subject))
	r.stopped.Go(r.tick)
	return r
}

func (r *plainReporter) tick() {
	ticker := time.NewTicker(plainInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.mu.Lock()
			say(r.out, "%s\n", r.meter.plain())
			r.mu.Unlock()
		case <-r.stop:
			return
		}
	}
}

func (r *plainReporter) update(u update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range u.Lines {
		say(r.out, "%s\n", lineText(line))
	}
	if u.Progress != nil {
		r.meter.apply(u.Progress)
	}
}

func (r *plainReporter) end(err error) {
	close(r.stop)
	r.stopped.Wait()
	if err == nil {
		say(r.out, "%s\n", r.meter.ended(r.now()))
	}
}

// plain is the meter as one line of text.
func (m *meter) plain() string {
	facts := m.facts()
	if m.total != nil && *m.total > 0 {
		facts[0] += fmt.Sprintf(" (%d%%)", int(m.ratio*100))
	}
	head := escape(m.doingNow() + " " + m.subject)
	if len(facts) == 0 {
		return head
	}
	return head + ": " + strings.Join(facts, ", ")
}
