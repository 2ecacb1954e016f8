package main

import "slices"

func (e *emitter) typeDecl(t *goType) {
	e.line("")
	e.comment(t.doc...)
	if t.enum {
		e.enumDecl(t)
		return
	}
	e.structDecl(t)
}

func (e *emitter) structDecl(t *goType) {
	if len(t.fields) == 0 {
		e.line("type %s struct{}", t.name)
		return
	}
	e.line("type %s struct {", t.name)
	for _, f := range t.fields {
		e.comment(f.doc...)
		option := ""
		if f.omitZero {
			option = ",omitzero"
		}
		e.line("%s %s `json:\"%s%s\"`", f.name, f.typ, f.wire, option)
	}
	e.line("}")
}

func (e *emitter) enumDecl(t *goType) {
	e.line("type %s string", t.name)
	e.line("")
	e.comment("The values of " + t.name + ".")
	e.line("const (")
	for _, m := range t.members {
		e.comment(m.doc...)
		e.line("%s %s = %q", m.name, t.name, m.wire)
	}
	e.line(")")
	e.line("")
	e.comment("UnmarshalText takes a value off the wire, where a dash may stand for an underscore; unknown values are kept.")
	e.line("func (v *%s) UnmarshalText(text []byte) error {", t.name)
	e.line("*v = %s(strings.ReplaceAll(string(text), \"-\", \"_\"))", t.name)
	e.line("return nil")
	e.line("}")
}

func (e *emitter) errorDecl(t *goType) {
	e.line("")
	e.comment(t.doc...)
	e.structDecl(t)
	text := "e.VarlinkError()"
	about := "Error is the error's full name."
	if hasMessage(t) {
		text = "cmp.Or(e.Message, e.VarlinkError())"
		about = "Error is the message, or the error's full name where there is none."
	}
	e.line("")
	e.comment(about)
	e.line("func (e *%s) Error() string { return %s }", t.name, text)
	e.line("")
	e.comment("VarlinkError is the error's full name.")
	e.line("func (*%s) VarlinkError() string { return Interface + %q }", t.name, "."+t.wire)
}

// hasMessage tells whether an error carries its own text.
func hasMessage(t *goType) bool {
	return slices.ContainsFunc(t.fields, func(f goField) bool { return f.wire == "message" && f.typ == "string" })
}

func (p *pkg) messages() bool { return slices.ContainsFunc(p.errors, hasMessage) }

// errorTable prints what the client turns error replies into Go errors by.
func (e *emitter) errorTable() {
	if len(e.errors) == 0 {
		return
	}
	e.line("")
	e.comment("Errors makes the errors that the interface declares, by their full names on the wire: for clients that decode and",
		"servers that translate. It must not be changed.")
	e.line("var Errors = map[string]func() varlink.Error{")
	for _, t := range e.errors {
		e.line("Interface + %q: func() varlink.Error { return new(%s) },", "."+t.wire, t.name)
	}
	e.line("}")
}

// errorTableExpr is the Go expression for the table, which an interface without errors does not have.
func (e *emitter) errorTableExpr() string {
	if len(e.errors) == 0 {
		return "nil"
	}
	return "Errors"
}
