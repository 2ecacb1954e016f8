package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"docker.io/library/alpine:latest", "docker.io/library/alpine:latest"},
		{"Käse ☕ 東京 \\n", "Käse ☕ 東京 \\n"},
		{"\x1b]0;owned\x07", `\x1b]0;owned\x07`},
		{"a\r\nb\tc", `a\r\nb\tc`},
		{"safe\u202egnp.exe", `safe\u202egnp.exe`},
		{"\u009b31m", `\u009b31m`},
		{"bad\xff\xc3", `bad\xff\xc3`},
		{"\U000e0041", `\U000e0041`},
		{"", ""},
	} {
		if got := escape(c.in); got != c.want {
			t.Errorf("escape(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestEscapeLinesIndents(t *testing.T) {
	t.Parallel()
	got := escapeLines("first\nimagectl: forged\x1b[1m\n")
	if want := "first\n  imagectl: forged\\x1b[1m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x1b[2J", "\u202e\u2066", "\xf0\x28\x8c\x28", "\u0085", "\U000f0000"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := escape(in)
		if !utf8.ValidString(out) {
			t.Fatalf("escape(%q) = %q is no UTF-8", in, out)
		}
		for _, r := range out {
			if unicode.Is(unicode.C, r) && unicode.In(r, hidden...) || r == '\u2028' || r == '\u2029' {
				t.Fatalf("escape(%q) = %q holds %U", in, out, r)
			}
		}
		if again := escape(out); again != out {
			t.Fatalf("escape(%q) = %q, then %q", in, out, again)
		}
	})
}

func FuzzEscapeJSON(f *testing.F) {
	for _, seed := range []string{"", "a\u202eb", "\u009b", "\U000e0041x", "\n\t\"\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		document, err := json.MarshalIndent(map[string]string{"name": in}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		safe := escapeJSON(document)
		var before, after map[string]string
		if err := json.Unmarshal(document, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(safe, &after); err != nil {
			t.Fatalf("%q: %v", safe, err)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("meaning changed (-before +after):\n%s", diff)
		}
		if strings.ContainsFunc(string(safe), func(r rune) bool { return r >= 0x7f && unicode.In(r, hidden...) }) {
			t.Errorf("%q still holds hidden characters", safe)
		}
	})
}
