package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/info"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

func TestPruneAsks(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "n\n": false, "\n": false, "": false, "y": false} {
		streams, _, errs := testStreams(answer)
		streams.InTerminal = os.Stdin // any file: that there is a terminal is all that counts
		a := &app{streams: streams}
		err := a.confirmPrune(&pruneOptions{all: true, buildCache: true})
		if (err == nil) != want {
			t.Errorf("%q: %v", answer, err)
		}
		if got := errs.String(); got != "This removes all images that no container uses, and the build cache. Go on? [y/N] " {
			t.Errorf("asked %q", got)
		}
	}
	streams, _, errs := testStreams("")
	if err := (&app{streams: streams}).confirmPrune(&pruneOptions{force: true}); err != nil || errs.Len() > 0 {
		t.Errorf("forced: %v, said %q", err, errs)
	}
}

// TestArchivesAreNothingForTerminals proves it without a daemon: none is asked.
func TestArchivesAreNothingForTerminals(t *testing.T) {
	t.Parallel()
	streams, _, _ := testStreams("")
	streams.Out, streams.OutTerminal = os.Stdout, os.Stdout
	streams.In, streams.InTerminal = os.Stdin, os.Stdin
	a := &app{streams: streams}
	terminal, _ := openTerminal(t, 72, 20)
	defer closeQuietly(terminal)
	for name, err := range map[string]error{
		"save":        a.runSave(t.Context(), nil, transfers.SaveIn{}, &saveOptions{}),
		"save to -":   a.runSave(t.Context(), nil, transfers.SaveIn{}, &saveOptions{output: "-"}),
		"save to one": a.runSave(t.Context(), nil, transfers.SaveIn{}, &saveOptions{output: terminal.Name()}),
		"load":        a.runLoad(t.Context(), nil, transfers.LoadIn{}, ""),
		"import of -": a.runImport(t.Context(), nil, transfers.ImportIn{}, "-"),
	} {
		if f, ok := errors.AsType[*failure](err); !ok || f.code != exitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestColoursChangeNoText proves it of what is drawn on standard output.
func TestColoursChangeNoText(t *testing.T) {
	t.Parallel()
	draw := func(s *style) string {
		var b bytes.Buffer
		if err := printLayers(&b, branching(), s); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []images.EventKind{images.EventKindPulled, images.EventKindTagged, images.EventKindRemoved} {
			b.WriteString(eventLine(s, eventRow{Event: string(kind), Time: "now", Name: "x"}) + "\n")
		}
		b.WriteString(diskLine(s, 10, info.GetStoreOut{Used: 50, Free: 150}))
		return b.String()
	}
	plain, coloured := draw(newStyle(false)), draw(newStyle(true))
	if !strings.Contains(plain, "25% in use, 150 B free, 5% of it all is images\n") {
		t.Errorf("the disk's line is not in\n%s", plain)
	}
	if plain == coloured {
		t.Error("there are no colours")
	}
	for _, code := range []string{"0", "1", "2", "31", "32"} {
		coloured = strings.ReplaceAll(coloured, "\x1b["+code+"m", "")
	}
	if diff := cmp.Diff(plain, coloured); diff != "" {
		t.Errorf("(-plain +coloured):\n%s", diff)
	}
}

func TestShownLines(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"Copying blob sha256:0": true, "Copying config sha256:0": true, "Getting image source signatures": true,
		"Trying to pull docker.io/library/alpine:latest...": false, "mirror failed": false,
	} {
		if got := shown(jobs.Line{Source: jobs.LineSourceEngine, Text: text}); got != want {
			t.Errorf("%s: %v", text, got)
		}
		if shown(jobs.Line{Source: jobs.LineSourceStdout, Text: text}) {
			t.Errorf("%s was said by a command, and is kept back", text)
		}
	}
}

func TestWithoutPassword(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://me:se@cret@example.com/a@b": "https://example.com/a@b", "http://h": "http://h", "file@1": "file@1", "https://u:p@h": "https://h",
	} {
		if got := withoutPassword(address); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}

// TestDrawLayersOutOfOrder draws what no daemon should send: a layer that is its own parent, a parent that is not there.
func TestDrawLayersOutOfOrder(t *testing.T) {
	t.Parallel()
	layers := []images.Layer{{ID: "a", Parent: new("a")}, {ID: "b", Parent: new("gone")}, {ID: "c", Parent: new("b")}}
	var got []string
	for _, b := range drawLayers(layers) {
		got = append(got, b.lead+b.layer.ID)
	}
	if diff := cmp.Diff([]string{"├── a", "└── b", "    └── c"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
