package main

// client prints the client's type and methods.
func (e *emitter) client() {
	e.line("")
	e.comment("Client calls the interface over a connection. Error replies come out as the error types of this package and of package",
		"varlink, for errors.As. It is as safe for concurrent use as the connection is.")
	e.line("type Client struct{ conn *varlink.Client }")
	e.line("")
	e.comment("NewClient makes a client of a connection, which stays the caller's to close.")
	e.line("func NewClient(conn *varlink.Client) *Client { return &Client{conn: conn} }")
	for _, m := range e.methods {
		if m.more != moreRequired {
			e.call(m)
		}
		if m.streams() {
			e.stream(m)
		}
	}
	if e.streams() {
		e.streamHelper()
	}
}

// call prints the method for a call with one reply.
func (e *emitter) call(m *goMethod) {
	e.line("")
	e.comment(m.doc...)
	if m.streams() {
		e.comment("", "This waits for the one reply of a call without more; "+m.name+"Stream sees them all.")
	}
	e.line("func (c *Client) %s(ctx context.Context, in %s) (%s, error) {", m.name, m.in, m.out)
	e.line("var out %s", m.out)
	e.line("err := c.conn.Call(ctx, Interface+%q, in, &out)", "."+m.wire)
	e.line("return out, varlink.DecodeErrors(err, %s)", e.errorTableExpr())
	e.line("}")
}

// stream prints the method for a call with more.
func (e *emitter) stream(m *goMethod) {
	name := m.name + "Stream"
	e.line("")
	e.comment(append([]string{
		name + " calls " + m.name + " with more and yields every reply as it comes; a failure is the last thing yielded.",
		"Leaving the loop early closes the connection, which cancels the call.", "",
	}, m.doc...)...)
	e.line("func (c *Client) %s(ctx context.Context, in %s) iter.Seq2[%s, error] {", name, m.in, m.out)
	e.line("return stream[%s](c.conn.Stream(ctx, Interface+%q, in))", m.out, "."+m.wire)
	e.line("}")
}

// streamHelper prints the function that decodes replies one by one.
func (e *emitter) streamHelper() {
	e.line("")
	e.comment("stream decodes replies; it ends with the first error.")
	e.line(`func stream[Out any](replies iter.Seq2[varlink.Reply, error]) iter.Seq2[Out, error] {
	return func(yield func(Out, error) bool) {
		for reply, err := range replies {
			var out Out
			if err == nil {
				err = varlink.Unmarshal(reply.Parameters, &out)
			}
			if !yield(out, varlink.DecodeErrors(err, %s)) || err != nil {
				return
			}
		}
	}
}`, e.errorTableExpr())
}
