package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

func (testImages) Tree(_ context.Context, in images.TreeIn) (images.TreeOut, error) {
	if _, err := find(in.Name); err != nil {
		return images.TreeOut{}, err
	}
	if in.WhatRequires == nil {
		return images.TreeOut{Layers: []images.Layer{
			{ID: idNone, Size: 5_000_000, Images: []string{}, Names: []string{}},
			{ID: idAlpine, Parent: new(idNone), Size: 1_000, Images: []string{idAlpine}, Names: []string{in.Name, "localhost/\x1b[2Jevil:1"}},
		}}, nil
	}
	return images.TreeOut{Layers: branching()}, nil
}

// branching are layers of which one has two on it.
func branching() []images.Layer {
	return []images.Layer{
		{ID: idAlpine, Size: 1_000, Images: []string{idAlpine}, Names: []string{"localhost/base:1"}},
		{ID: idNone, Parent: new(idAlpine), Size: 5_000_000, Images: []string{idNone}, Names: []string{}},
		{ID: "4444444444444444", Parent: new(idNone), Size: 12, Images: []string{}, Names: []string{}},
		{ID: idEvil, Parent: new(idAlpine), Size: 0, Images: []string{idEvil}, Names: []string{"localhost/app:1", "localhost/app:2"}},
	}
}

func (testImages) Diff(_ context.Context, in images.DiffIn, send func(images.DiffOut) error) (images.DiffOut, error) {
	if _, err := find(in.Name); err != nil {
		return images.DiffOut{}, err
	}
	if in.Other != nil {
		return images.DiffOut{Changes: []images.Change{}}, nil
	}
	first := []images.Change{{Path: "/etc", Kind: images.ChangeKindChanged}, {Path: "/etc/\x1b]0;x\n", Kind: images.ChangeKindAdded}}
	if err := send(images.DiffOut{Changes: first}); err != nil {
		return images.DiffOut{}, err
	}
	return images.DiffOut{Changes: []images.Change{{Path: "/var/old", Kind: images.ChangeKindDeleted}}}, nil
}

func (testImages) Prune(_ context.Context, in images.PruneIn) (images.PruneOut, error) {
	out := images.PruneOut{Removed: []images.Pruned{{ID: idNone, Names: []string{}, Size: 5}}, Reclaimed: 5}
	if in.All != nil {
		out.Removed = append(out.Removed, images.Pruned{ID: idAlpine, Names: []string{"x"}, Size: 7})
		out.Reclaimed = 12
	}
	return out, nil
}

func (testImages) DiskUsage(context.Context, images.DiskUsageIn) (images.DiskUsageOut, error) {
	return images.DiskUsageOut{
		Images: []images.Usage{
			{ID: idAlpine, Names: []string{"localhost/a:1", "localhost/a:2"}, Size: 8_000_000, Shared: 5_000_000, Unique: 3_000_000, Containers: 2},
			{ID: idNone, Names: []string{}, Size: 6_000_000, Shared: 5_000_000, Unique: 1_000_000},
		},
		Total: 9_000_000, Reclaimable: 1_000_000,
	}, nil
}

func (testImages) Watch(_ context.Context, _ images.WatchIn, send func(images.WatchOut) error) (images.WatchOut, error) {
	at := new("2020-01-02T03:04:05Z")
	for _, event := range []images.WatchOut{
		{Ready: new(true)},
		{Event: images.EventKindPulled, ID: new(idAlpine), Name: new("docker.io/library/alpine:latest"), Time: at},
		{Event: images.EventKindPullFailed, Name: new("evil\x1b[2J"), Time: at, Error: new("io.imaged.transfers.Failed"), Reason: new("no\nway")},
	} {
		if err := send(event); err != nil {
			return images.WatchOut{}, err
		}
	}
	return images.WatchOut{Event: images.EventKindRemoved, ID: new(idAlpine), Time: at}, nil
}

func (testTransfers) Push(_ context.Context, in transfers.PushIn, send func(transfers.PushOut) error) (transfers.PushOut, error) {
	if err := send(transfers.PushOut{Job: new("job2")}); err != nil {
		return transfers.PushOut{}, err
	}
	if in.Name == "private" {
		return transfers.PushOut{}, pullLogin(in.Credentials)
	}
	out := transfers.PushOut{Digest: new("sha256:" + idAlpine)}
	for _, said := range []string{
		"Copying blob sha256:" + idAlpine, fmt.Sprintf("format %q", in.Format), fmt.Sprintf("compression %q", in.CompressionFormat),
	} {
		out.Lines = append(out.Lines, transfers.Line{Source: transfers.LineSourceEngine, Text: said})
	}
	if in.Destination != nil {
		out.Lines = append(out.Lines, transfers.Line{Source: transfers.LineSourceEngine, Text: "to " + *in.Destination})
	}
	return out, nil
}

// Save writes a file for a name, and a tar for the dir formats. Of an image "cut" it writes the beginning.
func (testTransfers) Save(ctx context.Context, in transfers.SaveIn, send func(transfers.SaveOut) error) (transfers.SaveOut, error) {
	if in.FileDescriptor == nil {
		return transfers.SaveOut{}, &varlink.InvalidParameterError{Parameter: "fileDescriptor"}
	}
	f, err := varlink.CallFrom(ctx).TakeFile(*in.FileDescriptor, "fileDescriptor")
	if err != nil {
		return transfers.SaveOut{}, err
	}
	defer closeQuietly(f)
	if err := send(transfers.SaveOut{Job: new("job3")}); err != nil {
		return transfers.SaveOut{}, err
	}
	text := strings.Join(in.Names, " ") + "\n"
	switch {
	case in.Names[0] == "cut":
		_, err := io.WriteString(f, "the begin")
		return transfers.SaveOut{}, errors.Join(&transfers.FailedError{Message: "image cut: the disk failed; buy another"}, err)
	case strings.HasSuffix(string(in.Format), "_dir"):
		err = saveDir(tar.NewWriter(f), in.Names[0], text)
	default:
		_, err = io.WriteString(f, text)
	}
	return transfers.SaveOut{Size: new(int64(len(text)))}, err
}

func saveDir(w *tar.Writer, name, text string) error {
	err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))})
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Close()
	}
	return err
}

// Load tells what it read.
func (testTransfers) Load(ctx context.Context, in transfers.LoadIn, send func(transfers.LoadOut) error) (transfers.LoadOut, error) {
	if in.FileDescriptor == nil {
		return transfers.LoadOut{}, &varlink.InvalidParameterError{Parameter: "fileDescriptor"}
	}
	f, err := varlink.CallFrom(ctx).TakeFile(*in.FileDescriptor, "fileDescriptor")
	if err != nil {
		return transfers.LoadOut{}, err
	}
	defer closeQuietly(f)
	if err := send(transfers.LoadOut{Job: new("job4")}); err != nil {
		return transfers.LoadOut{}, err
	}
	text, err := io.ReadAll(f)
	if err != nil || len(text) == 0 {
		return transfers.LoadOut{}, &transfers.InvalidArchiveError{Reason: "empty", Message: "archive: empty; save it again"}
	}
	if entry, err := tar.NewReader(strings.NewReader(string(text))).Next(); err == nil {
		text = []byte("a tar with " + entry.Name)
	}
	out := transfers.LoadOut{Names: []string{strings.TrimSpace(string(text))}, IDs: []string{idAlpine}}
	if in.Name != nil {
		out.Names = append(out.Names, *in.Name)
	}
	return out, nil
}

func (testTransfers) Import(_ context.Context, in transfers.ImportIn, _ func(transfers.ImportOut) error) (transfers.ImportOut, error) {
	if (in.URL == nil) == (in.FileDescriptor == nil) {
		return transfers.ImportOut{}, &varlink.InvalidParameterError{Parameter: "url"}
	}
	return transfers.ImportOut{ID: new(idAlpine)}, nil
}

func (testTransfers) Copy(_ context.Context, in transfers.CopyIn, _ func(transfers.CopyOut) error) (transfers.CopyOut, error) {
	return transfers.CopyOut{
		Lines:  []transfers.Line{{Text: "from " + in.Source}, {Text: "to " + in.Destination}},
		Digest: new("sha256:" + idAlpine),
	}, nil
}

func (testTransfers) Search(_ context.Context, in transfers.SearchIn) (transfers.SearchOut, error) {
	if in.ListTags != nil {
		return transfers.SearchOut{Results: []transfers.SearchResult{{Registry: "r", Name: "r/app", Tag: new("1")}, {Registry: "r", Name: "r/app", Tag: new("2\x1b")}}}, nil
	}
	return transfers.SearchOut{Results: []transfers.SearchResult{
		{Registry: "r", Name: "r/library/app", Description: strings.Repeat("long ", 20), Stars: 1234, Official: true},
		{Registry: "r", Name: "r/me/app", Description: "\x1b[2J\u202e", Automated: true},
	}}, nil
}
