package varlink_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/varlinktest"
	upstream "github.com/varlink/go/varlink"
)

// The interface org.varlink.certification, by which Varlink implementations test each other: each call's parameters are the
// reply to the one before it. The file is varlink.org's own, as varlink/go ships it. Here our client and our server meet each other and those of varlink/go.

const certification = "org.varlink.certification"

//go:embed testdata/org.varlink.certification.varlink
var certificationDescription string

// certificationReplies are the replies of the methods, from Test01 on.
var certificationReplies = []string{
	`{"bool":true}`,
	`{"int":1}`,
	`{"float":1.0}`,
	`{"string":"ping"}`,
	`{"bool":false,"int":2,"float":3.141592653589793,"string":"a lot of string"}`,
	`{"struct":{"bool":false,"int":2,"float":3.141592653589793,"string":"a lot of string"}}`,
	`{"map":{"bar":"Bar","foo":"Foo"}}`,
	`{"set":{"one":{},"two":{},"three":{}}}`,
	`{"mytype":{"object":{"method":"org.varlink.certification.Test09","parameters":{"map":{"foo":"Foo","bar":"Bar"}}},` +
		`"enum":"two","struct":{"first":1,"second":"2"},"array":["one","two","three"],"dictionary":{"foo":"Foo","bar":"Bar"},` +
		`"stringset":{"one":{},"two":{},"three":{}},"nullable":null,"nullable_array_struct":null,` +
		`"interface":{"foo":[null,{"Foo":"foo","Bar":"bar"},null,{"one":"foo","two":"bar"}],"anon":{"foo":true,"bar":false}}}}`,
}

// moreReplies are those of Test10.
func moreReplies() []string {
	replies := make([]string, 10)
	for i := range replies {
		replies[i] = fmt.Sprintf("Reply number %d", i+1)
	}
	return replies
}

// certifier is the service without its transport.
type certifier struct {
	mu sync.Mutex
	ok bool // Test11 came, and was right
}

// answer returns the replies to a call, or the name of an error.
func (s *certifier) answer(method string, parameters []byte) (replies []string, err string) {
	if method == "Start" {
		return []string{`{"client_id":"one"}`}, ""
	}
	var in map[string]json.RawMessage
	if json.Unmarshal(parameters, &in) != nil || string(in["client_id"]) != `"one"` {
		return nil, "ClientIdError"
	}
	delete(in, "client_id")
	got, _ := json.Marshal(in)
	number := 0
	if method == "End" {
		s.mu.Lock()
		defer s.mu.Unlock()
		return []string{fmt.Sprintf(`{"all_ok":%t}`, s.ok)}, ""
	} else if _, err := fmt.Sscanf(method, "Test%d", &number); err != nil {
		return nil, "MethodNotFound"
	}
	want := "{}"
	switch {
	case number == 11:
		all, _ := json.Marshal(moreReplies())
		want = fmt.Sprintf(`{"last_more_replies":%s}`, all)
	case number > 1:
		want = certificationReplies[number-2]
	}
	if canonical(got) != canonical([]byte(want)) {
		return nil, "CertificationError"
	}
	switch number {
	case 10:
		for _, text := range moreReplies() {
			replies = append(replies, fmt.Sprintf(`{"string":%q}`, text))
		}
		return replies, ""
	case 11:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ok = true
		return []string{"{}"}, ""
	}
	return []string{certificationReplies[number-1]}, ""
}

func canonical(text []byte) string {
	v := jsontext.Value(text).Clone()
	if err := v.Canonicalize(); err != nil {
		return err.Error()
	}
	return string(v)
}

// certificationError is any error of the interface.
type certificationError struct{ name string }

func (e certificationError) Error() string              { return e.name }
func (e certificationError) VarlinkError() string       { return certification + "." + e.name }
func (certificationError) MarshalJSON() ([]byte, error) { return []byte("{}"), nil }

// handle serves a method with our runtime.
func (s *certifier) handle(_ context.Context, c *varlink.Call) error {
	replies, name := s.answer(strings.TrimPrefix(c.Method(), certification+"."), c.Parameters())
	if name != "" {
		return certificationError{name}
	}
	last := len(replies) - 1
	for _, r := range replies[:last] {
		if err := c.ReplyContinues(jsontext.Value(r)); err != nil {
			return err
		}
	}
	return c.Reply(jsontext.Value(replies[last]))
}

// certificationServer is the service on our runtime.
func certificationServer(t *testing.T) *varlink.Server {
	t.Helper()
	service, methods := &certifier{}, map[string]varlink.Method{}
	for _, name := range []string{"Start", "End"} {
		methods[name] = varlink.Method{Handle: service.handle}
	}
	for number := 1; number <= 11; number++ {
		method := varlink.Method{Handle: service.handle}
		if number == 10 {
			method.More = varlink.MoreRequired
		}
		methods[fmt.Sprintf("Test%02d", number)] = method
	}
	s := &varlink.Server{}
	if err := s.Register(varlink.Interface{Name: certification, Description: certificationDescription, Methods: methods}); err != nil {
		t.Fatal(err)
	}
	return s
}

// upstreamCertifier is the service on varlink/go's runtime.
type upstreamCertifier struct{ certifier }

func (*upstreamCertifier) VarlinkGetName() string        { return certification }
func (*upstreamCertifier) VarlinkGetDescription() string { return certificationDescription }

func (s *upstreamCertifier) VarlinkDispatch(ctx context.Context, c upstream.Call, method string) error {
	var in json.RawMessage
	if err := c.GetParameters(&in); err != nil {
		return err
	}
	replies, name := s.answer(method, in)
	if name != "" {
		return c.ReplyError(ctx, certification+"."+name, nil)
	}
	for i, r := range replies {
		c.Continues = i < len(replies)-1
		if err := c.Reply(ctx, json.RawMessage(r)); err != nil {
			return err
		}
	}
	return nil
}

// caller is a client without its transport.
type caller struct {
	call   func(method string, in any) (string, error)
	more   func(method string, in any) ([]string, error)
	oneway func(method string, in any) error
}

// certify goes through all methods.
func (c caller) certify(t *testing.T) {
	t.Helper()
	reply, err := c.call("Start", struct{}{})
	for number := 1; number <= 9 && err == nil; number++ {
		reply, err = c.call(fmt.Sprintf("Test%02d", number), withClientID(t, reply))
		if want := certificationReplies[number-1]; err == nil && canonical([]byte(reply)) != canonical([]byte(want)) {
			t.Errorf("Test%02d: got %s, want %s", number, reply, want)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	replies, err := c.more("Test10", withClientID(t, reply))
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(replies))
	for i, r := range replies {
		var out struct {
			String string `json:"string"`
		}
		if err := json.Unmarshal([]byte(r), &out); err != nil {
			t.Fatal(err)
		}
		texts[i] = out.String
	}
	if err := c.oneway("Test11", map[string]any{"client_id": "one", "last_more_replies": texts}); err != nil {
		t.Fatal(err)
	}
	if reply, err = c.call("End", map[string]string{"client_id": "one"}); err != nil || canonical([]byte(reply)) != `{"all_ok":true}` {
		t.Errorf("End: %s, %v", reply, err)
	}
	if _, err := c.call("Test01", map[string]string{"client_id": "two"}); err == nil || !strings.Contains(err.Error(), "ClientIdError") {
		t.Errorf("wrong client: %v", err)
	}
}

// withClientID makes parameters of the reply before.
func withClientID(t *testing.T, reply string) map[string]json.RawMessage {
	t.Helper()
	var in map[string]json.RawMessage
	if err := json.Unmarshal([]byte(reply), &in); err != nil {
		t.Fatal(err)
	}
	in["client_id"] = json.RawMessage(`"one"`)
	return in
}

// ourCaller calls with our client.
func ourCaller(t *testing.T, address string) caller {
	t.Helper()
	c, err := varlink.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return caller{
		call: func(method string, in any) (string, error) {
			var out jsontext.Value
			err := c.Call(t.Context(), certification+"."+method, in, &out)
			return string(out), err
		},
		more: func(method string, in any) (replies []string, err error) {
			for r, err := range c.Stream(t.Context(), certification+"."+method, in) {
				if err != nil {
					return nil, err
				}
				replies = append(replies, string(r.Parameters))
			}
			return replies, nil
		},
		oneway: func(method string, in any) error { return c.Oneway(t.Context(), certification+"."+method, in) },
	}
}

// upstreamCaller calls with varlink/go's client.
func upstreamCaller(t *testing.T, address string) caller {
	t.Helper()
	c, err := upstream.NewConnection(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	send := func(method string, in any, flags uint64) (func(context.Context, any) (uint64, error), error) {
		return c.Send(t.Context(), certification+"."+method, in, flags)
	}
	return caller{
		call: func(method string, in any) (string, error) {
			var out json.RawMessage
			err := c.Call(t.Context(), certification+"."+method, in, &out)
			return string(out), err
		},
		more: func(method string, in any) (replies []string, err error) {
			receive, err := send(method, in, upstream.More)
			for flags := uint64(upstream.Continues); err == nil && flags&upstream.Continues != 0; {
				var out json.RawMessage
				flags, err = receive(t.Context(), &out)
				replies = append(replies, string(out))
			}
			return replies, err
		},
		oneway: func(method string, in any) error {
			_, err := send(method, in, upstream.Oneway)
			return err
		},
	}
}

func TestCertification(t *testing.T) {
	t.Parallel()
	servers := map[string]func(*testing.T) string{
		"our server":          func(t *testing.T) string { return varlinktest.Listen(t, certificationServer(t)) },
		"varlink/go's server": func(t *testing.T) string { return serveUpstream(t, &upstreamCertifier{}) },
	}
	clients := map[string]func(*testing.T, string) caller{"our client": ourCaller, "varlink/go's client": upstreamCaller}
	for server, address := range servers {
		for client, connect := range clients {
			t.Run(client+" and "+server, func(t *testing.T) {
				t.Parallel()
				connect(t, address(t)).certify(t)
			})
		}
	}
}
