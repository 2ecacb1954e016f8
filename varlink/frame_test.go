package varlink_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/varlinktest"
)

func TestOneByteAWrite(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil))
	for _, b := range []byte(call("Echo", `{"text":"slow"}`) + "\x00") {
		if _, err := p.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	p.expect(`{"parameters":{"text":"slow"}}`)
}

func TestPipelinedCallsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.MaxPipelined = 3
	p := connect(t, s)
	var calls, replies []string
	for i := range 50 {
		text := strconv.Itoa(i)
		calls = append(calls, call("Echo", `{"text":"`+text+`"}`))
		replies = append(replies, `{"parameters":{"text":"`+text+`"}}`)
	}
	p.send(calls...)
	p.expect(replies...)
}

func TestPipelinedCallWaitsForStream(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil))
	p.send(call("Count", `{"upTo":2}`, "more"), call("Empty", `{}`))
	p.expect(`{"parameters":{"number":0},"continues":true}`, `{"parameters":{"number":1},"continues":true}`,
		`{"parameters":{"number":2}}`, emptyReply)
}

func TestLargestMessage(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	frame := len(call("Echo", `{"text":""}`))
	for _, size := range []int{4095, 4096, 4097, 100_000} {
		c := varlinktest.NewClient(t, s)
		text := strings.Repeat("x", size)
		var out textBody
		if err := c.Call(t.Context(), testInterface+".Echo", textBody{text}, &out); err != nil || out.Text != text {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	padded := func(size int) string {
		const begin, end = `{"method":"io.example.test.Empty","com.example.padding":"`, `"}`
		return begin + strings.Repeat("x", size-len(begin)-len(end)) + end
	}
	p := connect(t, s)
	p.send(padded(16 << 20))
	p.expect(emptyReply)
	if _, err := p.Write([]byte(padded(16<<20+1) + "\x00")); err == nil { // the server may have had enough before
		p.expectClosed()
	}
	large := varlinktest.NewClient(t, s)
	var limit *varlink.LimitError
	err := large.Call(t.Context(), testInterface+".Echo", textBody{strings.Repeat("x", varlink.DefaultMaxMessageSize-frame+1)}, nil)
	if !errors.As(err, &limit) || limit.Value != 16<<20 {
		t.Errorf("a byte more: %v", err)
	}
	limited := newServer(t, nil)
	limited.MaxMessageSize = 10_000
	fits := connect(t, limited)
	fits.send(call("Echo", `{"text":"`+strings.Repeat("x", 10_000-frame)+`"}`))
	if got := fits.receive(); len(got) < 9_900 {
		t.Errorf("got %d bytes", len(got))
	}
	beyond := connect(t, limited)
	beyond.send(call("Echo", `{"text":"`+strings.Repeat("x", 10_001-frame)+`"}`))
	beyond.expectClosed()
}

func TestReplyThatIsTooLarge(t *testing.T) {
	t.Parallel()
	s := &varlink.Server{MaxMessageSize: 1000, InternalError: func(_ *varlink.Call, err error) error {
		return &broken{err.Error()}
	}}
	register(t, s, nil)
	c := varlinktest.NewClient(t, s)
	var out textBody
	err := c.Call(t.Context(), testInterface+".Echo", textBody{strings.Repeat("x", 930)}, &out)
	if err != nil {
		t.Fatalf("below the limit: %v", err)
	}
	// The pipe's content is not part of the call, so that the reply alone is over the limit.
	in := descriptorBody{c.PushFile(pipeWith(t, strings.Repeat("y", 2000)))}
	err = c.Call(t.Context(), testInterface+".ReadFile", in, nil)
	want := &broken{"varlink: limit MaxMessageSize of 1000 exceeded"}
	if got, ok := errors.AsType[*broken](varlink.DecodeErrors(err, testErrors)); !ok || *got != *want {
		t.Errorf("got %v, want %v", err, want)
	}
	if err := c.Call(t.Context(), testInterface+".Empty", nil, nil); err != nil {
		t.Errorf("the connection did not survive: %v", err)
	}
}

// What is not a call closes the connection without an answer.
func TestMalformedMessages(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	messages := map[string]string{
		"empty":                ``,
		"not JSON":             `hello`,
		"not an object":        `["method"]`,
		"cut short":            `{"method":"a.b`,
		"two values":           `{"method":"io.example.test.Empty"}{}`,
		"no method":            `{"parameters":{}}`,
		"method is a number":   `{"method":1}`,
		"parameters is a list": `{"method":"io.example.test.Empty","parameters":[]}`,
		"flag is a string":     `{"method":"io.example.test.Empty","more":"true"}`,
		"flag is null":         `{"method":"io.example.test.Empty","more":null}`,
		"oneway and more":      call("Empty", `{}`, "oneway", "more"),
		"more and upgrade":     call("Empty", `{}`, "more", "upgrade"),
		"oneway and upgrade":   call("Empty", `{}`, "oneway", "upgrade"),
		"unknown member":       `{"method":"io.example.test.Empty","shiny":true}`,
		"member twice":         `{"method":"io.example.test.Empty","method":"io.example.test.Empty"}`,
		"parameter twice":      call("Echo", `{"text":"a","text":"b"}`),
		"not UTF-8":            call("Echo", "{\"text\":\"\xff\"}"),
		"NaN":                  call("Check", `{"ratio":NaN}`),
		"deep":                 `{"method":"io.example.test.Empty","parameters":{"a":` + strings.Repeat("[", 100_000),
		"deep and closed": call("Check", `{"anything":{"a":`+strings.Repeat("[", 100_000)+
			strings.Repeat("]", 100_000)+`}}`),
	}
	for name, message := range messages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := connect(t, s)
			p.send(message)
			p.expectClosed()
		})
	}
}

func TestMembersOfOthersAreIgnored(t *testing.T) {
	t.Parallel()
	p := connect(t, newServer(t, nil))
	p.send(`{"com.example.trace":{"id":[1]},"method":"io.example.test.Empty"}`, ` { "meth\u006fd" : "io.example.test.Empty" } `)
	p.expect(emptyReply, emptyReply)
}

func TestParameters(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for _, test := range []struct{ method, parameters, invalid string }{
		{"Check", `{}`, ""},
		{"Check", `null`, ""},
		{"Check", `{"color":null,"tags":null,"place":null,"ratio":null,"flag":null,"anything":null}`, ""},
		{"Check", `{"color":"red","tags":["a"],"place":{"x":1,"y":2},"ratio":1,"flag":true,"anything":{"a":[null]}}`, ""},
		{"Check", `{"color":"dark-blue","flag":false,"ratio":-1.5e3,"numbers":{"a":-0}}`, ""},
		{"Check", `{"color":"dark_blue","pl\u0061ce":{"x":1,"next":{"x":2,"next":null}}}`, ""},
		{"Check", `{"color":"green"}`, "color"},
		{"Check", `{"color":1}`, "color"},
		{"Check", `{"Color":"red"}`, "Color"},
		{"Check", `{"colour":"red"}`, "colour"},
		{"Check", `{"tags":"a"}`, "tags"},
		{"Check", `{"tags":["a",1]}`, "tags"},
		{"Check", `{"tags":[null]}`, "tags"},
		{"Check", `{"tags":{}}`, "tags"},
		{"Check", `{"place":[]}`, "place"},
		{"Check", `{"place":{}}`, "place.x"},
		{"Check", `{"place":{"x":null}}`, "place.x"},
		{"Check", `{"place":{"x":1,"z":1}}`, "place.z"},
		{"Check", `{"place":{"x":1,"next":{"x":""}}}`, "place.next.x"},
		{"Check", `{"place":{"x":1.5}}`, "place.x"},
		{"Check", `{"place":{"x":9223372036854775808}}`, "place.x"},
		{"Check", `{"place":{"x":1e2}}`, "place.x"},
		{"Check", `{"points":[{"x":1},{"y":1}]}`, "points.x"},
		{"Check", `{"ratio":1e999}`, "ratio"},
		{"Check", `{"ratio":"1"}`, "ratio"},
		{"Check", `{"flag":1}`, "flag"},
		{"Check", `{"flag":"false"}`, "flag"},
		{"Check", `{"numbers":{"a":"b"}}`, "numbers"},
		{"Check", `{"numbers":[]}`, "numbers"},
		{"Check", `{"anything":1}`, "anything"},
		{"Echo", `{}`, "text"},
		{"Echo", `{"text":null}`, "text"},
		{"Empty", `{"text":1}`, "text"},
	} {
		p := connect(t, s)
		p.send(call(test.method, test.parameters), call("Empty", `{}`))
		want := emptyReply
		if test.invalid != "" {
			want = invalid(test.invalid)
		}
		if got := p.receive(); got != want {
			t.Errorf("%s(%s): got %s, want %s", test.method, test.parameters, got, want)
		}
		p.expect(emptyReply) // the connection stays open
	}
}
