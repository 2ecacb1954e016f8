package jobs

import "sync"

// Source says where a line comes from.
type Source string

// The sources of lines.
const (
	// Engine is imaged itself.
	Engine Source = "engine"
	// Stdout is the standard output of a command that an operation ran.
	Stdout Source = "stdout"
	// Stderr is the standard error of such a command.
	Stderr Source = "stderr"
)

// Line is one line of text that an operation said.
type Line struct {
	// Source is where it comes from.
	Source Source
	// Text is the line without its newline.
	Text string
}

const (
	maxLineLength = 16 << 10 // bytes; a longer line becomes several
	maxBacklog    = 10_000   // lines kept for the slowest watcher
	maxBacklogLen = 4 << 20  // bytes kept for the slowest watcher
	maxTail       = 1_000    // lines a late watcher gets
)

// lineLog keeps the last lines of a job. Each line has a number, counted from zero.
type lineLog struct {
	mu      sync.Mutex // guards all below
	lines   []Line
	first   int64 // number of lines[0]
	size    int   // bytes of all texts
	closed  bool
	changed chan struct{} // closed at the next change; nil while nobody waits
}

// add appends a line, in pieces if it is too long, and forgets the oldest ones.
func (l *lineLog) add(source Source, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	for len(text) > maxLineLength {
		cut := maxLineLength
		for cut > maxLineLength-4 && text[cut]&0xC0 == 0x80 { // not within a rune
			cut--
		}
		l.push(Line{source, text[:cut]})
		text = text[cut:]
	}
	l.push(Line{source, text})
	l.keep(maxBacklog, maxBacklogLen)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

func (l *lineLog) push(line Line) {
	l.lines = append(l.lines, line)
	l.size += len(line.Text)
}

// keep drops the oldest lines beyond count lines or size bytes.
func (l *lineLog) keep(count, size int) {
	drop := 0
	for len(l.lines)-drop > count || l.size > size {
		l.size -= len(l.lines[drop].Text)
		drop++
	}
	clear(l.lines[:drop]) // the texts are freed now, the array when it grows next
	l.lines = l.lines[drop:]
	l.first += int64(drop)
}

// close makes the log refuse further lines.
func (l *lineLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

// shrink keeps only what a late watcher gets.
func (l *lineLog) shrink() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(maxTail, maxBacklogLen)
}

// tail returns the number from which a late watcher reads.
func (l *lineLog) tail() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first + int64(max(0, len(l.lines)-maxTail))
}

// since returns a copy of the lines from number next on, the number after them, and a channel that is closed when
// there are more. It says false if some of those lines are gone.
func (l *lineLog) since(next int64) ([]Line, int64, <-chan struct{}, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if next < l.first {
		return nil, next, nil, false
	}
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	lines := append([]Line(nil), l.lines[next-l.first:]...)
	return lines, next + int64(len(lines)), l.changed, true
}
