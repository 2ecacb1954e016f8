package main

import (
	"slices"
	"strings"
)

// The comment lines of a method that are read by machines.
const (
	markSupports = "[Supports 'more' flag]"
	markRequires = "[Requires 'more' flag]"
	markReadOnly = "[Read only]"
)

// readMarkers moves the machine-read lines from the comments of methods to their attributes, and those of options.more
// with them.
func readMarkers(t *tree, opts options, found *problems) {
	for _, m := range t.methods {
		m.doc = slices.DeleteFunc(m.doc, func(line string) bool { return m.mark(line, opts, found) })
		if slices.Contains(opts.more, m.name) {
			m.more = max(m.more, moreSupported)
		}
	}
	for _, name := range opts.more {
		if !slices.ContainsFunc(t.methods, func(m *method) bool { return m.name == name }) {
			found.add(t.line, "-more %s: there is no such method", name)
		}
	}
	if !opts.lenient {
		refuseMarkers(t, found)
	}
}

// mark applies a machine-read line and tells whether the line is one.
func (m *method) mark(line string, opts options, found *problems) bool {
	switch {
	case line == markReadOnly:
		m.readOnly = true
	case line == markSupports || line == markRequires:
		if m.more != moreUnsupported {
			found.add(m.line, "method %s: more than one line about its 'more' flag", m.name)
		}
		m.more = moreSupported
		if line == markRequires {
			m.more = moreRequired
		}
	case !isMarker(line):
		return false
	case !opts.lenient:
		found.add(m.line, "method %s: unknown machine-read line %q: known are %s, %s and %s",
			m.name, line, markSupports, markRequires, markReadOnly)
	}
	return true
}

func isMarker(line string) bool {
	return strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]")
}

// refuseMarkers refuses machine-read lines anywhere but above a method.
func refuseMarkers(t *tree, found *problems) {
	refuse := func(line int, name string, doc []string) {
		if i := slices.IndexFunc(doc, isMarker); i >= 0 {
			found.add(line, "%s: machine-read line %q: only methods have such lines", name, doc[i])
		}
	}
	refuse(t.line, t.name, t.doc)
	for _, d := range slices.Concat(t.types, t.errors) {
		refuse(d.line, d.name, d.doc)
	}
	t.eachType(func(_ string, typ *typeExpr) {
		for _, f := range typ.fields {
			refuse(f.line, f.name, f.doc)
		}
	})
}
