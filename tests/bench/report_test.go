package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dustin/go-humanize"
)

// unit says how a value is written, and whether less of it is better.
type unit struct {
	format     func(float64) string
	moreBetter bool
}

var (
	seconds = unit{format: func(v float64) string {
		d := time.Duration(v * float64(time.Second))
		return d.Round(max(time.Duration(v*1e7), 100)).String() // two digits after the first
	}}
	perSecond = unit{format: func(v float64) string { return humanize.Comma(int64(v)) + "/s" }, moreBetter: true}
	bytesUsed = unit{format: func(v float64) string { return humanize.Bytes(uint64(max(0, v))) }}
	downloads = unit{format: func(v float64) string { return fmt.Sprintf("%.2f", v) }}
)

// goal is what a row ought to reach. The zero value is no goal.
type goal struct {
	ratio float64 // ours is so many times better than the peer
	most  float64 // ours is no more than this
}

// row is a line of the table.
type row struct {
	what string
	unit unit
	ours float64
	peer string
	its  float64 // the peer's; 0: the peer is missing
	goal goal
}

const layout = "%-44s %-11s %-14s %-11s %-8s %-9s %s\n"

func printHead() {
	fmt.Printf(layout, "what", "imaged", "peer", "its", "ratio", "goal", "met")
}

// print writes the row. A peer that is missing leaves its columns empty.
func (r row) print() {
	its, ratio, met := "missing", "", ""
	better := 0.0
	if r.its > 0 && r.ours > 0 {
		its = r.unit.format(r.its)
		better = r.its / r.ours
		if r.unit.moreBetter {
			better = 1 / better
		}
		ratio = fmt.Sprintf("%.2f×", better)
	}
	if r.peer == "" {
		its = ""
	}
	if wanted := r.goal.String(r.unit); wanted != "" && (r.goal.most > 0 || better > 0) {
		met = "no"
		if r.goal.met(r.ours, better) {
			met = "yes"
		}
	}
	fmt.Printf(layout, r.what, r.unit.format(r.ours), r.peer, its, ratio, r.goal.String(r.unit), met)
}

// String is the goal for people.
func (g goal) String(u unit) string {
	switch {
	case g.ratio > 0:
		return fmt.Sprintf("≥ %.3g×", g.ratio)
	case g.most > 0:
		return "≤ " + u.format(g.most)
	}
	return ""
}

func (g goal) met(ours, better float64) bool {
	if g.ratio > 0 {
		return better >= g.ratio
	}
	return ours <= g.most
}

// contender is one of those that take turns. Its run does the work once and returns what was measured.
type contender struct {
	name string
	run  func(t *testing.T) []float64
}

// alternate lets contenders take turns and returns the medians of what each measured, in their order.
func alternate(t *testing.T, rounds int, contenders []contender) [][]float64 {
	t.Helper()
	samples := make([][][]float64, len(contenders)) // by contender, measure, round
	for range rounds {
		for i, c := range contenders {
			for m, v := range c.run(t) {
				if len(samples[i]) <= m {
					samples[i] = append(samples[i], nil)
				}
				samples[i][m] = append(samples[i][m], v)
			}
		}
	}
	medians := make([][]float64, len(contenders))
	for i, measures := range samples {
		for _, values := range measures {
			medians[i] = append(medians[i], quantile(values, 0.5))
		}
	}
	return medians
}

// quantile returns the value below which so large a part of the values lies. It sorts them.
func quantile(values []float64, part float64) float64 {
	slices.Sort(values)
	return values[min(len(values)-1, int(part*float64(len(values))))]
}

// timed returns how many seconds something took.
func timed(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}
