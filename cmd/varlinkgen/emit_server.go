package main

// handler prints the interface that a server implements.
func (e *emitter) handler() {
	e.line("")
	e.comment("Handler serves the interface. Its methods are called concurrently. A method's context ends when the caller hangs up",
		"or the server closes; varlink.CallFrom gives the call it belongs to. An error that is no Varlink error is left to the",
		"server's InternalError.")
	if e.streams() {
		e.comment("", "What a method hands to send goes to the caller at once, as one of several replies, if the caller set more; else it is",
			"dropped. The returned value is the last reply, or the only one.")
	}
	e.line("type Handler interface {")
	for _, m := range e.methods {
		e.comment(m.doc...)
		e.line("%s", m.handlerSignature("in ", "send "))
	}
	e.line("}")
}

// handlerSignature is the method as Go has it, with or without names for what comes behind the context.
func (m *goMethod) handlerSignature(in, send string) string {
	ctx := ""
	if in != "" {
		ctx = "ctx "
	}
	s := m.name + "(" + ctx + "context.Context, " + in + m.in
	if m.streams() {
		s += ", " + send + "func(" + m.out + ") error"
	}
	return s + ") (" + m.out + ", error)"
}

func (e *emitter) unimplemented() {
	e.line("")
	e.comment("Unimplemented answers every method with org.varlink.service.MethodNotImplemented. A Handler that embeds it still",
		"compiles when the interface gets new methods.")
	e.line("type Unimplemented struct{}")
	e.line("")
	e.line("var _ Handler = Unimplemented{}")
	for _, m := range e.methods {
		e.line("")
		e.comment(m.name + " implements Handler.")
		e.line("func (Unimplemented) %s {", m.handlerSignature("", ""))
		e.line("return %s{}, &varlink.MethodNotImplementedError{Method: Interface + %q}", m.out, "."+m.wire)
		e.line("}")
	}
}

// constructor prints New, which ties a handler to the names on the wire.
func (e *emitter) constructor() {
	e.line("")
	e.comment("New makes the interface of its handler, for varlink.Server.Register.")
	e.line("func New(h Handler) varlink.Interface {")
	e.line("return varlink.Interface{")
	e.line("Name: Interface,")
	e.line("Description: %s,", e.descriptionExpr())
	e.line("Methods: map[string]varlink.Method{")
	for _, m := range e.methods {
		e.line("%q: {%s},", m.wire, m.attributes())
	}
	e.line("},")
	e.line("}")
	e.line("}")
}

// attributes are the fields of the method's varlink.Method.
func (m *goMethod) attributes() string {
	s := ""
	if m.readOnly {
		s += "ReadOnly: true, "
	}
	switch m.more {
	case moreSupported:
		s += "More: varlink.MoreSupported, "
	case moreRequired:
		s += "More: varlink.MoreRequired, "
	case moreUnsupported:
	}
	if m.streams() {
		return s + "Handle: varlink.HandleStream(h." + m.name + ")"
	}
	return s + "Handle: varlink.Handle(h." + m.name + ")"
}
