package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// TestGolden compares generated packages with their golden files. That of the sample is a package of its own, so that the
// compiler and the round trips see it too.
func TestGolden(t *testing.T) {
	t.Parallel()
	tests := []struct {
		source, golden string
		opts           options
	}{
		{source: "internal/sample/com.example.sample.varlink", golden: "internal/sample/sample.go"},
		{source: "testdata/com.example.plain.varlink", golden: "testdata/plain.go.golden", opts: options{idlImport: "example.com/idl"}},
		{
			source: "testdata/org.varlink.certification.varlink", golden: "testdata/certification.go.golden",
			opts: options{lenient: true, more: []string{"Test10"}},
		},
	}
	for _, test := range tests {
		t.Run(filepath.Base(test.source), func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(test.source)
			if err != nil {
				t.Fatal(err)
			}
			_, got, err := Generate(test.source, string(source), test.opts)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(test.golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(test.golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("generated code differs from %s (-want +got); run go test -update if that is meant:\n%s", test.golden, diff)
			}
		})
	}
}

func TestMainWritesThePackage(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "folder")
	var stdout, stderr bytes.Buffer
	code := Main([]string{"-out", dir, "-package", "shop", "internal/sample/com.example.sample.varlink"}, Streams{&stdout, &stderr})
	if code != exitDone || stdout.Len() != 0 || stderr.Len() != 0 {
		t.Fatalf("exit code %d, stdout %q, stderr %q", code, &stdout, &stderr)
	}
	got, err := os.ReadFile(filepath.Join(dir, "shop.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(got, []byte("\npackage shop\n")) {
		t.Errorf("no package clause in:\n%.300s", got)
	}
}

func TestMainExitCodes(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.varlink")
	if err := os.WriteFile(bad, []byte("interface nodots\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"help", []string{"-h"}, exitDone, "usage: varlinkgen [flags] FILE.varlink"},
		{"no file", nil, exitUsage, "usage: varlinkgen [flags] FILE.varlink"},
		{"two files", []string{"a", "b"}, exitUsage, "usage: varlinkgen [flags] FILE.varlink"},
		{"unknown flag", []string{"-nope"}, exitUsage, "flag provided but not defined: -nope"},
		{"missing file", []string{"testdata/absent.varlink"}, exitRefused, "absent.varlink: no such file"},
		{"bad file", []string{bad}, exitRefused, bad + `:1: "nodots" where an interface name`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := Main(test.args, Streams{&stdout, &stderr})
			if code != test.code || stdout.Len() != 0 || !bytes.Contains(stderr.Bytes(), []byte(test.says)) {
				t.Errorf("exit code %d, want %d; stdout %q; stderr %q, want %q in it", code, test.code, &stdout, &stderr, test.says)
			}
		})
	}
}
