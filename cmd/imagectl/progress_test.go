package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/varlink/gen/jobs"
)

// blob makes a blob of a digest that is one letter repeated.
func blob(letter string, state jobs.BlobState, offset, size int64) jobs.Blob {
	return jobs.Blob{
		Digest: "sha256:" + strings.Repeat(letter, 64), Kind: jobs.BlobKindLayer, State: state, Offset: offset, Size: &size,
	}
}

// halfway is a pull in its middle.
func halfway() *meter {
	m := newMeter(work{doing: "pulling", did: "pulled", subject: "docker.io/library/alpine:latest"}, time.Time{})
	m.apply(&jobs.Progress{
		Phase: jobs.PhaseTransferring, Done: 21_000_000, Total: new(int64(50_000_000)), Cached: 4_000_000,
		BytesPerSecond: 3_000_000, LayersDone: 2, LayersTotal: new(int64(6)),
		Blobs: []jobs.Blob{
			blob("a", jobs.BlobStateSkipped, 0, 4_000_000),
			blob("b", jobs.BlobStateDone, 8_000_000, 8_000_000),
			blob("c", jobs.BlobStateWaiting, 0, 1_000_000),
			blob("d", jobs.BlobStateTransferring, 12_000_000, 20_000_000),
			blob("e", jobs.BlobStateUnpacking, 9_000_000, 9_000_000),
			{Digest: "sha256:" + strings.Repeat("f", 64), Kind: jobs.BlobKindConfig, State: jobs.BlobStateTransferring, Offset: 512},
			blob("0", jobs.BlobStateFailed, 5, 9_000_000),
		},
	})
	return m
}

func TestTTYPictures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ width, rows int }{{120, 8}, {79, 8}, {79, 4}, {40, 3}, {12, 1}, {79, 0}} {
		m, s := halfway(), newStyle(false)
		lines := append([]string{m.sumLine(s, c.width)}, m.blobRows(s, c.width, c.rows)...)
		for _, line := range lines {
			if got := len([]rune(line)); got > c.width {
				t.Errorf("width %d: %q takes %d", c.width, line, got)
			}
		}
		if got := len(lines); got > c.rows+1 {
			t.Errorf("%d rows: got %d lines", c.rows, got)
		}
		golden(t, fmt.Sprintf("tty-%dx%d.txt", c.width, c.rows), strings.Join(lines, "\n")+"\n")
	}
}

func TestTTYColoursChangeNoText(t *testing.T) {
	t.Parallel()
	m := halfway()
	coloured := strings.Join(append(m.blobRows(newStyle(true), 79, 8), m.sumLine(newStyle(true), 79)), "\n")
	plain := strings.Join(append(m.blobRows(newStyle(false), 79, 8), m.sumLine(newStyle(false), 79)), "\n")
	if !strings.Contains(coloured, "\x1b[32m") {
		t.Errorf("no colour in %q", coloured)
	}
	for _, code := range []string{"0", "1", "2", "31", "32"} {
		coloured = strings.ReplaceAll(coloured, "\x1b["+code+"m", "")
	}
	if diff := cmp.Diff(plain, coloured); diff != "" {
		t.Errorf("(-plain +coloured):\n%s", diff)
	}
}

func TestMeterNeverGoesBack(t *testing.T) {
	t.Parallel()
	m := newMeter(work{}, time.Time{})
	var done int64
	ratio := 0.0
	for _, p := range []jobs.Progress{
		{Done: 10, Total: new(int64(100))},
		{Done: 60, Total: new(int64(100)), Cached: 5},
		{Done: 20, Total: new(int64(100))},             // a retry begins again
		{Done: 30, Total: new(int64(400)), Cached: 2},  // more was found
		{Done: 500, Total: new(int64(400)), Cached: 7}, // more came than was announced
		{Done: 510},
	} {
		m.apply(&p)
		if m.done < done || m.ratio < ratio || m.ratio > 1 {
			t.Errorf("after %+v: done %d, ratio %v; before: %d, %v", p, m.done, m.ratio, done, ratio)
		}
		done, ratio = m.done, m.ratio
	}
}

func TestPlainIsALineEveryTenSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		streams, _, errs := testStreams("")
		streams.Now = time.Now
		a := &app{streams: streams}
		r := a.newPlainReporter(work{doing: "pulling", did: "pulled", subject: "x\x1b"})
		time.Sleep(11 * time.Second)
		r.update(update{
			Progress: &jobs.Progress{
				Phase: jobs.PhaseTransferring, Done: 21_000_000, Total: new(int64(50_000_000)),
				BytesPerSecond: 3_000_000, LayersDone: 2, LayersTotal: new(int64(6)),
			},
			Lines: []jobs.Line{{Text: "a line\r"}},
		})
		time.Sleep(20 * time.Second)
		r.update(update{Progress: &jobs.Progress{Phase: jobs.PhaseWaiting, Done: 22_000_000, Total: new(int64(50_000_000)), Cached: 1000}})
		time.Sleep(10 * time.Second)
		r.end(nil)
		golden(t, "plain.txt", errs.String())
	})
}

func TestPlainFailureLeavesTheWordToTheError(t *testing.T) {
	t.Parallel()
	streams, _, errs := testStreams("")
	a := &app{streams: streams}
	r := a.newPlainReporter(work{doing: "pulling", did: "pulled", subject: "x"})
	r.end(&failure{what: "no"})
	if diff := cmp.Diff("pulling x\n", errs.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTTYLinesStayAboveTheBars(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		streams, _, _ := testStreams("")
		var screen bytes.Buffer
		streams.Err, streams.Now = &screen, time.Now
		a := &app{streams: streams}
		r := a.newTTYReporter(work{doing: "pulling", did: "pulled", subject: "x"})
		r.update(update{Lines: []jobs.Line{{Text: "first"}}})
		r.update(update{Progress: &jobs.Progress{
			Phase: jobs.PhaseTransferring, Done: 5, Total: new(int64(10)), Blobs: []jobs.Blob{blob("a", jobs.BlobStateTransferring, 5, 10)},
		}})
		time.Sleep(time.Second)
		r.update(update{Lines: []jobs.Line{{Text: "second\x1b[2J"}}})
		time.Sleep(time.Second)
		r.end(nil)
		got := screen.String()
		for _, want := range []string{"first\n", "second\\x1b[2J\n", "  layer    aaaaaaaaaaaa ", "5 B of 10 B", " 50%"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%q", want, got)
			}
		}
		if last := got[strings.LastIndex(got, "\x1b[J")+3:]; last != "pulled x: 5 B in 2s\n" {
			t.Errorf("what stays is %q", last)
		}
	})
}
