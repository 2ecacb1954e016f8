package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// hidden holds the characters that must not reach a terminal as they are: control characters (they move the cursor,
// rename the window, answer for the user), format characters (text-direction overrides, invisible ones), line and
// paragraph separators, and private ones.
var hidden = []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs}

// escape makes a text that came from a registry, an image or the daemon safe to print for people on one line.
// What is hidden, and bytes that are no UTF-8, are written as Go would write them in a string: \n, \x1b, \u202e.
func escape(text string) string {
	if !needsEscape(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case unicode.In(r, hidden...):
			b.WriteString(escapeRune(r))
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// escapeLines is escape for a text of several lines: the newlines stay, each followed by an indent, so that
// no line of the text can pass for one of ours.
func escapeLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = escape(line)
	}
	return strings.Join(lines, "\n  ")
}

// escapeJSON makes a JSON document safe to print on a terminal without changing its meaning: JSON leaves
// DEL, the C1 controls and format characters as they are in strings, and there alone can they stand.
func escapeJSON(document []byte) []byte {
	if !needsEscape(strings.NewReplacer("\n", "", "\t", "").Replace(string(document))) {
		return document
	}
	out := make([]byte, 0, len(document)+len(document)/8)
	for _, r := range string(document) {
		if r < 0x20 || !unicode.In(r, hidden...) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out
}

func needsEscape(text string) bool {
	if !utf8.ValidString(text) {
		return true
	}
	return strings.ContainsFunc(text, func(r rune) bool { return unicode.In(r, hidden...) })
}

func escapeRune(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < 0x80:
		return fmt.Sprintf(`\x%02x`, r)
	case r < 0x10000:
		return fmt.Sprintf(`\u%04x`, r)
	default:
		return fmt.Sprintf(`\U%08x`, r)
	}
}
