package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// tarOf makes a tar of entries, each with its name for content.
func tarOf(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.Mode = 0o644
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(h.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// TestUnpackStaysInItsFolder unpacks tars that want out of it.
func TestUnpackStaysInItsFolder(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	sentinel := filepath.Join(outside, "sentinel")
	if err := os.WriteFile(sentinel, []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, headers := range map[string][]tar.Header{
		"parent":         {{Name: "../sentinel", Typeflag: tar.TypeReg}},
		"deep parent":    {{Name: "a/b/../../../sentinel", Typeflag: tar.TypeReg}},
		"absolute":       {{Name: sentinel, Typeflag: tar.TypeReg}},
		"link":           {{Name: "l", Linkname: outside, Typeflag: tar.TypeSymlink}, {Name: "l/sentinel", Typeflag: tar.TypeReg}},
		"link to self":   {{Name: "s", Linkname: ".", Typeflag: tar.TypeSymlink}},
		"hard link":      {{Name: "h", Linkname: sentinel, Typeflag: tar.TypeLink}},
		"device":         {{Name: "null", Devmajor: 1, Devminor: 3, Typeflag: tar.TypeChar}},
		"pipe":           {{Name: "p", Typeflag: tar.TypeFifo}},
		"twice":          {{Name: "a", Typeflag: tar.TypeReg}, {Name: "a", Typeflag: tar.TypeReg}},
		"file as folder": {{Name: "a", Typeflag: tar.TypeReg}, {Name: "a/b", Typeflag: tar.TypeReg}},
		"parent folder":  {{Name: "../made", Typeflag: tar.TypeDir}},
	} {
		folder, err := newOutFolder(filepath.Join(outside, "out"))
		if err != nil {
			t.Fatal(err)
		}
		unpackErr := unpack(tarOf(t, headers...), folder.root)
		if unpackErr == nil {
			t.Errorf("%s: it was unpacked", name)
		}
		if err := folder.finish(unpackErr); err == nil {
			t.Errorf("%s: the folder was made", name)
		}
		entries, err := os.ReadDir(outside)
		text, readErr := os.ReadFile(sentinel)
		if err != nil || readErr != nil || len(entries) != 1 || string(text) != "whole" {
			t.Fatalf("%s: outside there are %v, the sentinel holds %q: %v, %v", name, entries, text, err, readErr)
		}
	}
}

func TestUnpackMakesWhatPackTook(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "out")
	if err := os.MkdirAll(filepath.Join(from, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"index.json", "blobs/sha256/abc"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := pack(&b, from); err != nil {
		t.Fatal(err)
	}
	folder, err := newOutFolder(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := folder.finish(unpack(&b, folder.root)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"index.json", "blobs/sha256/abc"} {
		if text, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(text) != name {
			t.Errorf("%s holds %q, %v", name, text, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("not a tar"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		outside := t.TempDir()
		folder, err := newOutFolder(filepath.Join(outside, "out"))
		if err != nil {
			t.Fatal(err)
		}
		_ = folder.finish(unpack(bytes.NewReader(archive), folder.root)) // most are bad
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "out" {
			t.Errorf("outside there are %v, %v", entries, err)
		}
	})
}
