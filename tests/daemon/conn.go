package daemon

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Conn is a connection to a daemon, in raw bytes.
type Conn struct {
	*net.UnixConn
	reader *bufio.Reader
}

// Reply is one reply.
type Reply struct {
	// Raw is the message as it came, without its NUL.
	Raw []byte
	// Parameters are a JSON object.
	Parameters json.RawMessage
	// Continues says that another reply follows.
	Continues bool
	// Error is the full name of an error; empty: none.
	Error string
}

// Into puts the parameters into a value.
func (r Reply) Into(t testing.TB, value any) {
	t.Helper()
	if r.Error != "" {
		t.Fatalf("error reply %s", r.Raw)
	}
	if err := json.Unmarshal(r.Parameters, value); err != nil {
		t.Fatalf("%s: %v", r.Raw, err)
	}
}

// Field is a parameter as JSON; empty: there is none.
func (r Reply) Field(name string) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(r.Parameters, &fields) != nil {
		return ""
	}
	return string(fields[name])
}

// Text is a parameter that is a string; empty: there is none.
func (r Reply) Text(name string) string {
	var text string
	if json.Unmarshal([]byte(r.Field(name)), &text) != nil {
		return ""
	}
	return text
}

// Dial connects to the daemon's full socket until the test ends.
func (d *Daemon) Dial(t testing.TB) *Conn {
	t.Helper()
	return Dial(t, d.Socket)
}

// Dial connects to a socket until the test ends.
func Dial(t testing.TB, path string) *Conn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return NewConn(conn)
}

// NewConn makes a Conn of a connection. The caller closes it.
func NewConn(conn *net.UnixConn) *Conn {
	return &Conn{UnixConn: conn, reader: bufio.NewReader(conn)}
}

// Message is a call without its NUL. Flags are members that are true, as more.
func Message(method, parameters string, flags ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"method":%q`, method)
	if parameters != "" {
		fmt.Fprintf(&b, `,"parameters":%s`, parameters)
	}
	for _, f := range flags {
		fmt.Fprintf(&b, `,%q:true`, f)
	}
	return b.String() + "}"
}

// Send writes a call.
func (c *Conn) Send(method, parameters string, flags ...string) error {
	_, err := c.Write([]byte(Message(method, parameters, flags...) + "\x00"))
	return err
}

// Read reads a reply within Patience. It is strict: a reply that a Varlink client may refuse is an error.
func (c *Conn) Read() (Reply, error) { return c.ReadWithin(Patience) }

// ReadWithin is Read with a wait of its own.
func (c *Conn) ReadWithin(wait time.Duration) (Reply, error) {
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return Reply{}, err
	}
	raw, err := c.reader.ReadBytes(0)
	if err != nil {
		return Reply{Raw: raw}, err
	}
	raw = bytes.TrimSuffix(raw, []byte{0})
	r := Reply{Raw: raw}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var members struct {
		Parameters *json.RawMessage `json:"parameters"`
		Continues  *bool            `json:"continues"`
		Error      *string          `json:"error"`
	}
	if err := dec.Decode(&members); err != nil {
		return r, fmt.Errorf("reply %s: %w", raw, err)
	}
	if members.Parameters != nil {
		r.Parameters = *members.Parameters
	}
	if len(r.Parameters) > 0 && r.Parameters[0] != '{' {
		return r, fmt.Errorf("reply %s: parameters are no object", raw)
	}
	r.Continues = members.Continues != nil && *members.Continues
	if members.Error != nil {
		r.Error = *members.Error
	}
	return r, nil
}

// Gone waits until the daemon has closed the connection; what comes before is dropped.
func (c *Conn) Gone() error {
	if err := c.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	for {
		_, err := c.reader.ReadByte()
		switch {
		case err == nil:
		case isTimeout(err):
			return errors.New("the connection is still there")
		default:
			return nil
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// Call sends a call and returns its last reply, whether or not it is an error. Without the flag more, there must be only one.
func (c *Conn) Call(t testing.TB, method, parameters string, flags ...string) Reply {
	t.Helper()
	all := c.Replies(t, method, parameters, flags...)
	return all[len(all)-1]
}

// Replies sends a call and returns all replies.
func (c *Conn) Replies(t testing.TB, method, parameters string, flags ...string) []Reply {
	t.Helper()
	if err := c.Send(method, parameters, flags...); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	var all []Reply
	for {
		r, err := c.Read()
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		all = append(all, r)
		if !r.Continues {
			return all
		}
	}
}

// Call makes one call over a connection of its own.
func (d *Daemon) Call(t testing.TB, method, parameters string, flags ...string) Reply {
	t.Helper()
	c := d.Dial(t)
	defer func() { _ = c.Close() }()
	return c.Call(t, method, parameters, flags...)
}

// SendFiles writes bytes with descriptors.
func (c *Conn) SendFiles(message string, fds ...int) error {
	_, _, err := c.WriteMsgUnix([]byte(message), syscall.UnixRights(fds...), nil)
	return err
}

// Rest is all that still comes until the daemon ends the connection: what follows an upgrade has no messages.
func (c *Conn) Rest() ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return nil, err
	}
	return io.ReadAll(c.reader)
}
