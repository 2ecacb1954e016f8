package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tick is the unit of processor times in /proc.
const tick = time.Second / 100

// usage is what a process and those that it started use.
type usage struct {
	resident  float64       // bytes; those that several of them share count once
	own       float64       // those of them that are not pages of files, which others may share
	processor time.Duration // so far, that of ended ones included
}

// Fields of /proc/PID/stat after the name of the program.
const (
	fieldParent = 1
	fieldTimes  = 11 // user, system, and those of ended children
)

// usage adds up what the kernel tells.
func (p *process) usage(t *testing.T) usage {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	stats := map[int][]int{}
	children := map[int][]int{}
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		text, gone := os.ReadFile(path)
		if err != nil || gone != nil {
			continue
		}
		stats[pid] = numbers(text)
		children[stats[pid][fieldParent]] = append(children[stats[pid][fieldParent]], pid)
	}
	var sum usage
	for all := []int{p.cmd.Process.Pid}; len(all) > 0; all = all[1:] {
		stat := stats[all[0]]
		if stat == nil {
			continue
		}
		memory, own := memoryOf(all[0])
		sum.resident, sum.own = sum.resident+memory, sum.own+own
		for _, ticks := range stat[fieldTimes : fieldTimes+4] {
			sum.processor += time.Duration(ticks) * tick
		}
		all = append(all, children[all[0]]...)
	}
	return sum
}

// memoryOf reads how much memory a process uses, its part of what it shares with others included, and how much of that
// is not pages of files; zeros if it has ended.
func memoryOf(pid int) (all, own float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		var kibibytes float64
		if _, err := fmt.Sscan(value, &kibibytes); err != nil {
			continue
		}
		switch name {
		case "Pss":
			all = kibibytes * 1024
		case "Pss_Anon":
			own = kibibytes * 1024
		}
	}
	return all, own
}

// numbers are the fields of a stat file after the name; the state, a letter, is zero.
func numbers(text []byte) []int {
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	all := make([]int, len(fields))
	for i, field := range fields {
		all[i], _ = strconv.Atoi(string(field))
	}
	return all
}

// peak returns the most memory that the process used while something was done, looking every 20 ms.
func (p *process) peak(t *testing.T, work func() error) float64 {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- work() }()
	most := 0.0
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		most = max(most, p.usage(t).resident)
		select {
		case err := <-done:
			tick.Stop()
			if err != nil {
				t.Fatal(err)
			}
			return most
		default:
		}
	}
}

// settled is how long a process must be quiet to count as at rest.
const settled = 300 * time.Millisecond

// settle waits until the process does nothing any more, and returns how long it was busy. A tick of the processor now and
// then is nothing.
func (p *process) settle(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	busyUntil, used := start, p.usage(t).processor
	for time.Since(busyUntil) < settled {
		time.Sleep(tick)
		if now := p.usage(t).processor; now-used > tick {
			busyUntil, used = time.Now(), now
		}
		if time.Since(start) > patience {
			t.Fatal(fmt.Errorf("%s does not come to rest", p.cmd.Path))
		}
	}
	return busyUntil.Sub(start)
}
