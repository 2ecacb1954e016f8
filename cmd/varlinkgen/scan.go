package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is one word or sign of an interface file.
type token struct {
	text string   // empty at the end of the file
	line int      // counted from 1
	doc  []string // the comment lines directly above, without their "# "
	glue bool     // nothing stands between this token and the one before
}

// isWord tells a name or keyword from a sign.
func (t token) isWord() bool { return t.text != "" && isWordByte(t.text[0]) }

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// scanner cuts a file into tokens. It exists beside the parser of varlink/go because that one keeps neither lines nor the
// comments of fields.
type scanner struct {
	source  string
	lenient bool
	pos     int
	line    int
	doc     []string
	content bool // a token stands on this line
	*problems
}

// scan returns the tokens of a file, the last one being the empty token of its end. A file that is no text has none. A
// foreign file (lenient) may have its comments anywhere.
func scan(source string, lenient bool, found *problems) []token {
	s := &scanner{source: source, lenient: lenient, line: 1, problems: found}
	if !s.isText() {
		return nil
	}
	var tokens []token
	for {
		start := s.pos
		s.skipBlanks()
		t := token{line: s.line, doc: s.doc, glue: s.pos == start}
		s.doc = nil
		t.text = s.next()
		tokens = append(tokens, t)
		if t.text == "" {
			return tokens
		}
		s.content = true
	}
}

// isText refuses what cannot travel in a JSON string or stand in a Go comment.
func (s *scanner) isText() bool {
	line := 1
	for i, r := range s.source {
		switch {
		case r == '\n':
			line++
		case r == utf8.RuneError && !strings.HasPrefix(s.source[i:], string(utf8.RuneError)):
			s.add(line, "invalid UTF-8: save the file as UTF-8")
			return false
		case r == '\t' || r == '\r' && strings.HasPrefix(s.source[i:], "\r\n"):
		case unicode.IsControl(r) || r == '\ufeff':
			s.add(line, "control character %U: take it out", r)
			return false
		}
	}
	return true
}

// skipBlanks goes to the next token and gathers the comment above it.
func (s *scanner) skipBlanks() {
	for s.pos < len(s.source) {
		switch s.source[s.pos] {
		case '\n':
			if !s.content {
				s.doc = nil
			}
			s.newLine()
		case ' ', '\t', '\r':
			s.pos++
		case '#':
			s.comment()
		default:
			return
		}
	}
}

func (s *scanner) newLine() {
	s.pos++
	s.line++
	s.content = false
}

// comment reads one comment line with its newline.
func (s *scanner) comment() {
	line, _, ended := strings.Cut(s.source[s.pos:], "\n")
	if line == "#" && !s.lenient {
		s.add(s.line, "bare #: the parser of varlink/go would swallow the next line; write text behind it or leave the line out")
	}
	if s.content && !s.lenient {
		s.add(s.line, "comment behind code: put it on lines of its own above what it documents")
	}
	if !s.content {
		s.doc = append(s.doc, strings.TrimRight(strings.TrimPrefix(line[1:], " "), " \t\r"))
	}
	s.pos += len(line)
	if ended {
		s.newLine()
	}
}

// next reads the token at the position; dots and dashes belong to a word when the word goes on behind them.
func (s *scanner) next() string {
	start := s.pos
	rest := s.source[start:]
	if rest == "" {
		return ""
	}
	if strings.HasPrefix(rest, "->") {
		s.pos += 2
		return "->"
	}
	if !isWordByte(rest[0]) {
		_, size := utf8.DecodeRuneInString(rest)
		s.pos += size
		return rest[:size]
	}
	for s.pos < len(s.source) && (isWordByte(s.source[s.pos]) || s.joins()) {
		s.pos++
	}
	return s.source[start:s.pos]
}

// joins tells whether the sign at the position is inside a word.
func (s *scanner) joins() bool {
	c := s.source[s.pos]
	return (c == '.' || c == '-') && s.pos+1 < len(s.source) && isWordByte(s.source[s.pos+1])
}
