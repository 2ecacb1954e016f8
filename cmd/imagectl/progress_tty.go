package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/imaged-project/imaged/varlink/gen/jobs"
)

const (
	// ttyRefresh is the time between two pictures on a terminal.
	ttyRefresh = 100 * time.Millisecond
	// ttyRows is how many rows of blobs there are at most; a low terminal gets fewer.
	ttyRows = 8
	// ttyBar is how wide a bar is at most, and ttyBarMin what makes one worth drawing.
	ttyBar, ttyBarMin = 30, 8
	// ttyFacts is how many facts of the sum line matter more than its bar.
	ttyFacts = 4
	// ttyHeight is assumed of a terminal that does not tell.
	ttyHeight = 24
)

// ttyReporter draws progress on a terminal: mpb owns the cursor, the refresh and the width, and the meter draws the
// lines. One bar of mpb's is the sum; its extender is the rows, whose number changes from picture to picture.
type ttyReporter struct {
	progress *mpb.Progress
	bar      *mpb.Bar
	height   func() int
	now      func() time.Time

	mu    sync.Mutex
	meter *meter // guarded by mu
	final string // guarded by mu; the picture after the end
	over  bool   // guarded by mu
}

func (a *app) newTTYReporter(w work) *ttyReporter {
	r := &ttyReporter{now: a.streams.Now, height: a.terminalHeight}
	r.meter = newMeter(w, r.now())
	style := newStyle(a.colour())
	var out io.Writer = a.streams.Err
	if terminal := a.streams.ErrTerminal; terminal != nil {
		out = terminal
		// What runs programs on a terminal of its own often gives it no size. mpb would draw nothing in no width; it assumes
		// one where it sees no terminal.
		if width, _, err := term.GetSize(int(terminal.Fd())); err != nil || width <= 0 {
			out = struct{ io.Writer }{terminal}
		}
	}
	r.progress = mpb.New(mpb.WithOutput(out), mpb.WithAutoRefresh(), mpb.WithRefreshRate(ttyRefresh))
	sum := mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		_, err := io.WriteString(w, r.sum(style, s.AvailableWidth))
		return err
	})
	rows := mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		_, err := io.WriteString(w, r.rows(style, s.AvailableWidth))
		return err
	})
	r.bar = r.progress.MustAdd(0, sum, mpb.BarFillerTrim(), mpb.BarExtender(rows, false))
	return r
}

// terminalHeight asks anew each time: people resize their windows.
func (a *app) terminalHeight() int {
	if a.streams.ErrTerminal == nil {
		return ttyHeight
	}
	_, height, err := term.GetSize(int(a.streams.ErrTerminal.Fd()))
	if err != nil || height <= 0 {
		return ttyHeight
	}
	return height
}

func (r *ttyReporter) sum(style *style, width int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return cut(r.final, width-1)
	}
	return r.meter.sumLine(style, width-1)
}

func (r *ttyReporter) rows(style *style, width int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return ""
	}
	var b strings.Builder
	// The sum takes a line, and the cursor stands on one below the last.
	for _, row := range r.meter.blobRows(style, width-1, min(ttyRows, r.height()-2)) {
		b.WriteString(row + "\n")
	}
	return b.String()
}

func (r *ttyReporter) update(u update) {
	var b bytes.Buffer
	for _, line := range u.Lines {
		if !shown(line) {
			b.WriteString(lineText(line) + "\n")
		}
	}
	if b.Len() > 0 {
		// Lines go above the bars. mpb's only error is that it has ended, which it has not.
		_, _ = r.progress.Write(b.Bytes())
	}
	if u.Progress == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.meter.apply(u.Progress)
}

// shownLines are how the engine's lines begin that say what the bars and rows show.
var shownLines = []string{
	"Getting image source signatures", "Checking if image destination supports signatures", "Copying blob ", "Copying config ",
	"Writing manifest ", "Storing signatures",
}

func shown(line jobs.Line) bool {
	return line.Source == jobs.LineSourceEngine &&
		slices.ContainsFunc(shownLines, func(start string) bool { return strings.HasPrefix(line.Text, start) })
}

func (r *ttyReporter) end(err error) {
	r.mu.Lock()
	r.over, r.final = true, r.meter.ended(r.now())
	if err != nil {
		r.final = r.meter.plain()
	}
	r.mu.Unlock()
	r.bar.Abort(false)
	r.progress.Wait()
}

// style is how lines are drawn on this terminal.
type style struct {
	colour bool
	bar    mpb.BarFiller
}

func newStyle(colour bool) *style {
	s := &style{colour: colour}
	bar := mpb.BarStyle()
	if colour {
		bar = bar.FillerMeta(s.green).TipMeta(s.green).PaddingMeta(s.dim)
	}
	s.bar = bar.Build()
	return s
}

func (s *style) green(text string) string { return s.paint("32", text) }
func (s *style) red(text string) string   { return s.paint("31", text) }
func (s *style) dim(text string) string   { return s.paint("2", text) }
func (s *style) bold(text string) string  { return s.paint("1", text) }

func (s *style) paint(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// drawBar draws a bar of a width; empty if that is too narrow for one.
func (s *style) drawBar(width int, ratio float64) string {
	width = min(width, ttyBar)
	if width < ttyBarMin {
		return ""
	}
	const whole = 1 << 20
	var b bytes.Buffer
	// A buffer takes all that is written.
	_ = s.bar.Fill(&b, decor.Statistics{
		AvailableWidth: width, Total: whole, Current: int64(ratio * whole), Completed: ratio >= 1,
	})
	return b.String()
}

// sumLine is the line for the whole job: what is done, a bar, and as many facts as there is room for.
func (m *meter) sumLine(s *style, width int) string {
	head := escape(m.doingNow())
	if m.total == nil {
		head = escape(m.doingNow() + " " + m.subject)
	}
	text, percent := "", ""
	if m.total != nil && *m.total > 0 {
		percent = fmt.Sprintf(" %3d%%", int(m.ratio*100))
	}
	room := width - len([]rune(head)) - len(percent)
	for i, fact := range m.facts() {
		// Bytes, rate, time left and what was here come before the bar, the rest after it.
		if len(text)+2+len(fact) <= room-i/ttyFacts*(ttyBarMin+1) {
			text += "  " + fact
		}
	}
	bar := ""
	if percent != "" {
		if bar = s.drawBar(room-len(text)-1, m.ratio); bar != "" {
			bar = " " + bar
		}
	}
	if room < 0 {
		return cut(head, width)
	}
	return s.bold(head) + bar + percent + text
}

// blobOrder puts the blobs that something happens to before the others.
var blobOrder = [][]jobs.BlobState{
	{jobs.BlobStateTransferring, jobs.BlobStateUnpacking},
	{jobs.BlobStateFailed},
	{jobs.BlobStateWaiting},
	{jobs.BlobStateDone},
	{jobs.BlobStateSkipped},
}

// blobRows are at most limit rows, the active blobs first, in the order in which they came up. The last row counts those
// that there is no room for.
func (m *meter) blobRows(s *style, width, limit int) []string {
	var ordered []jobs.Blob
	for _, states := range blobOrder {
		for _, blob := range m.blobs {
			for _, state := range states {
				if blob.State == state {
					ordered = append(ordered, blob)
				}
			}
		}
	}
	if limit <= 0 {
		return nil
	}
	var rows []string
	shown := ordered
	if len(ordered) > limit {
		shown = ordered[:limit-1]
	}
	for _, blob := range shown {
		rows = append(rows, blobRow(s, blob, m.where(), width))
	}
	if hidden := ordered[len(shown):]; len(hidden) > 0 {
		rows = append(rows, s.dim(cut("  "+countStates(hidden), width)))
	}
	return rows
}

func countStates(blobs []jobs.Blob) string {
	counts := map[jobs.BlobState]int{}
	for _, blob := range blobs {
		counts[blob.State]++
	}
	var parts []string
	for _, states := range blobOrder {
		for _, state := range states {
			if counts[state] > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
			}
		}
	}
	return fmt.Sprintf("and %d more: %s", len(blobs), strings.Join(parts, ", "))
}

func blobRow(s *style, blob jobs.Blob, there string, width int) string {
	digest := short(blob.Digest[strings.IndexByte(blob.Digest, ':')+1:], false)
	head := fmt.Sprintf("  %-8s %-12s ", escape(string(blob.Kind)), escape(digest))
	state, ratio := string(blob.State), 0.0
	switch {
	case blob.State == jobs.BlobStateSkipped:
		state = "already " + there
	case blob.State != jobs.BlobStateTransferring:
	case blob.Size == nil:
		state = size(blob.Offset)
	default:
		state = size(blob.Offset) + " of " + size(*blob.Size)
		if *blob.Size > 0 {
			ratio = min(float64(blob.Offset)/float64(*blob.Size), 1)
		}
	}
	if blob.State != jobs.BlobStateTransferring {
		if blob.Size != nil {
			state += "  " + size(*blob.Size)
		}
		return cutPainted(s, blob.State, head, state, width)
	}
	if bar := s.drawBar(width-len(head)-len(state)-2, ratio); bar != "" && blob.Size != nil {
		return head + bar + "  " + state
	}
	return cut(head+state, width)
}

func cutPainted(s *style, state jobs.BlobState, head, text string, width int) string {
	line := cut(head+text, width)
	switch state {
	case jobs.BlobStateFailed:
		return s.red(line)
	case jobs.BlobStateDone, jobs.BlobStateSkipped, jobs.BlobStateWaiting:
		return s.dim(line)
	}
	return line
}

// cut shortens a line to a width; a line that wrapped would put the cursor off.
func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:max(width, 0)])
}
