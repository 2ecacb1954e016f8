package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/imaged-project/imaged/varlink/gen/jobs"
)

// The ways in which progress is shown (--progress, IMAGECTL_PROGRESS).
const (
	progressAuto  = "auto"    // tty on a terminal, plain otherwise
	progressTTY   = "tty"     // a sum line above a row for each active blob
	progressPlain = "plain"   // one line every plainInterval
	progressQuiet = "quiet"   // nothing
	progressRaw   = "rawjson" // the reply frames, one a line
)

// reporter shows the updates of one job on standard error. It is used from one goroutine.
type reporter interface {
	update(u update)
	// end is the last call: the job is over, or was left. A nil error means that it is done.
	end(err error)
}

// progressMode tells how progress is to be shown: by the flag, else by the environment, else as the terminal is.
func (a *app) progressMode() (string, error) {
	mode := cmp.Or(a.progress, a.streams.Getenv("IMAGECTL_PROGRESS"), progressAuto)
	switch mode {
	case progressAuto:
		mode = progressPlain
		if a.streams.ErrTerminal != nil {
			mode = progressTTY
		}
	case progressTTY, progressPlain, progressQuiet, progressRaw:
	default:
		return "", usagef("choose auto, tty, plain, quiet or rawjson", "--progress %s is unknown", mode)
	}
	if a.quiet && mode != progressRaw {
		mode = progressQuiet
	}
	return mode, nil
}

func (a *app) newReporter(w work) (reporter, error) {
	mode, err := a.progressMode()
	if err != nil {
		return nil, err
	}
	switch mode {
	case progressQuiet:
		return discard{}, nil
	case progressRaw:
		return &rawReporter{a: a}, nil
	case progressTTY:
		return a.newTTYReporter(w), nil
	}
	return a.newPlainReporter(w), nil
}

// colour tells whether the terminal on standard error gets colours; NO_COLOR forbids them.
func (a *app) colour() bool {
	return a.streams.ErrTerminal != nil && a.streams.Getenv("NO_COLOR") == ""
}

// discard shows nothing.
type discard struct{}

func (discard) update(update) {}
func (discard) end(error)     {}

// rawReporter writes the frames as they came, for programs. They go to standard error like all progress; the
// result stands on standard output as ever, and an error is the frame that it came in.
type rawReporter struct{ a *app }

type frame struct {
	Parameters json.RawMessage `json:"parameters"`
	Continues  bool            `json:"continues,omitzero"`
}

func (r *rawReporter) update(u update) {
	// Nothing can be done about progress that cannot be written.
	_ = writeJSON(r.a.streams.Err, frame{json.RawMessage(u.Reply.Parameters), u.Reply.Continues}, false)
}

func (r *rawReporter) end(error) {}

// meter is what is known of a job, made so that what people see never goes back: a retry that starts
// again, or a total that grows, holds the sum where it was until it is passed.
type meter struct {
	work
	start   time.Time
	phase   jobs.Phase
	done    int64
	total   *int64
	cached  int64
	rate    int64
	layers  int64
	layersN *int64
	ratio   float64 // 0 to 1, what of the total is done
	blobs   []jobs.Blob
	at      map[string]int // index in blobs by digest
}

func newMeter(w work, start time.Time) *meter {
	return &meter{work: w, start: start, phase: jobs.PhaseResolving, at: map[string]int{}}
}

func (m *meter) apply(p *jobs.Progress) {
	m.phase, m.rate, m.total, m.layersN = p.Phase, p.BytesPerSecond, p.Total, p.LayersTotal
	m.done, m.cached, m.layers = max(m.done, p.Done), max(m.cached, p.Cached), max(m.layers, p.LayersDone)
	if m.total != nil {
		m.total = new(max(*m.total, m.done))
		if *m.total > 0 {
			m.ratio = max(m.ratio, float64(m.done)/float64(*m.total))
		}
	}
	for _, blob := range p.Blobs {
		index, known := m.at[blob.Digest]
		if !known {
			index = len(m.blobs)
			m.at[blob.Digest] = index
			m.blobs = append(m.blobs, blob)
		}
		m.blobs[index] = blob
	}
}

// left estimates the time until all is transferred; not ok: it cannot.
func (m *meter) left() (time.Duration, bool) {
	if m.total == nil || m.rate <= 0 || m.done >= *m.total || m.phase != jobs.PhaseTransferring {
		return 0, false
	}
	seconds := (*m.total - m.done + m.rate - 1) / m.rate
	return time.Duration(min(seconds, int64(99*time.Hour/time.Second))) * time.Second, true
}

// facts are the parts of the sum line after its bar, the most telling first.
func (m *meter) facts() []string {
	var facts []string
	add := func(format string, args ...any) { facts = append(facts, fmt.Sprintf(format, args...)) }
	switch {
	case m.total != nil && *m.total > 0:
		add("%s of %s", size(m.done), size(*m.total))
	case m.done > 0:
		add("%s", size(m.done))
	}
	if m.phase == jobs.PhaseTransferring && m.rate > 0 {
		add("%s/s", size(m.rate))
	}
	if left, ok := m.left(); ok {
		add("%s left", left)
	}
	if m.cached > 0 {
		add("%s already %s", size(m.cached), m.where())
	}
	if m.layersN != nil && *m.layersN > 0 {
		add("layers %d/%d", m.layers, *m.layersN)
	}
	return facts
}

// where names the place that things are brought to.
func (w work) where() string { return cmp.Or(w.there, "here") }

// doingNow names what is being done.
func (m *meter) doingNow() string {
	switch m.phase {
	case jobs.PhaseTransferring:
		return m.doing
	case jobs.PhaseWaiting:
		return "waiting to try again"
	}
	return string(m.phase)
}

// ended is the last line of a job that is done.
func (m *meter) ended(now time.Time) string {
	took := now.Sub(m.start)
	text := fmt.Sprintf("%s %s", m.did, m.subject)
	if m.done > 0 {
		text += fmt.Sprintf(": %s in %s", size(m.done), took.Round(100*time.Millisecond))
	}
	if m.cached > 0 {
		text += fmt.Sprintf(", %s already %s", size(m.cached), m.where())
	}
	return escape(text)
}

// lineText is a line of the job's talk, safe to print.
func lineText(line jobs.Line) string { return escape(line.Text) }
