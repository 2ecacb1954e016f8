package main

import (
	goparser "go/parser"
	gotoken "go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// FuzzGenerate feeds arbitrary files to the generator: it never panics, what it refuses has a line for each mistake, and
// what it accepts comes out as Go.
func FuzzGenerate(f *testing.F) {
	for _, pattern := range []string{"testdata/*.varlink", "internal/sample/*.varlink", "../../idl/*.varlink"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			source, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(source), false)
			f.Add(string(source), true)
		}
	}
	for _, test := range refusals {
		f.Add(test.source, true)
	}
	placed := regexp.MustCompile(`^fuzz\.varlink:[1-9][0-9]*: .`)
	f.Fuzz(func(t *testing.T, source string, lenient bool) {
		_, code, err := Generate("fuzz.varlink", source, options{lenient: lenient})
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !placed.MatchString(line) {
					t.Errorf("a refusal without its place: %q", line)
				}
			}
			return
		}
		if _, err := goparser.ParseFile(gotoken.NewFileSet(), "fuzz.go", code, goparser.SkipObjectResolution); err != nil {
			t.Errorf("generated code: %v", err)
		}
	})
}
