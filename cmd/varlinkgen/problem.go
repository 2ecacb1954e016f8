package main

import (
	"fmt"
	"slices"
	"strings"
)

// problem is one reason to refuse an interface file.
type problem struct {
	file string
	line int
	text string
}

func (p problem) String() string { return fmt.Sprintf("%s:%d: %s", p.file, p.line, p.text) }

// problems gathers what is wrong with one file; as an error it reads one line a problem, in the order of the file.
type problems struct {
	file string
	list []problem
}

// add notes a problem of the given line, counted from 1.
func (p *problems) add(line int, format string, args ...any) {
	p.list = append(p.list, problem{p.file, line, fmt.Sprintf(format, args...)})
}

// err returns what was gathered, or nil.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b problem) int { return a.line - b.line })
	return p
}

// Error implements error.
func (p *problems) Error() string {
	lines := make([]string, len(p.list))
	for i, one := range p.list {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}
