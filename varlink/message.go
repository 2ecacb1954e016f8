package varlink

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/go-json-experiment/json"
)

// message is a buffer in which a message is made.
type message struct{ bytes.Buffer }

var messages = sync.Pool{New: func() any { return new(message) }}

func newMessage() *message { return messages.Get().(*message) }

// put returns the buffer for others, unless it has grown large.
func (m *message) put() {
	if m.Cap() > 2*largeBuffer {
		return
	}
	m.Reset()
	messages.Put(m)
}

// reply makes a reply or, with a name, an error reply.
func (m *message) reply(name string, out any, continues bool) error {
	m.WriteByte('{')
	if name != "" {
		m.WriteString(`"error":`)
		m.Write(quoted(name))
		m.WriteByte(',')
	}
	if err := m.parameters(out); err != nil {
		return err
	}
	if continues {
		m.WriteString(`,"continues":true`)
	}
	m.WriteString("}\x00")
	return nil
}

// call makes a call; mode is the flag that is set, "" for none.
func (m *message) call(method string, in any, mode string) error {
	m.WriteString(`{"method":`)
	m.Write(quoted(method))
	m.WriteByte(',')
	if err := m.parameters(in); err != nil {
		return err
	}
	if mode != "" {
		m.WriteString(`,"` + mode + `":true`)
	}
	m.WriteString("}\x00")
	return nil
}

// parameters writes the member of that name; nil is {}. The same value is the same text each time, so that texts can be compared.
func (m *message) parameters(value any) error {
	m.WriteString(`"parameters":`)
	if value == nil {
		m.WriteString("{}")
		return nil
	}
	start := m.Len()
	if err := json.MarshalWrite(&m.Buffer, value, json.Deterministic(true)); err != nil {
		return fmt.Errorf("varlink: parameters: %w", err)
	}
	if m.Len() == start || m.Bytes()[start] != '{' {
		return fmt.Errorf("varlink: parameters: %T is not a JSON object", value)
	}
	return nil
}
