package varlink

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// FuzzReadMessage feeds bytes in pieces of some size to a reader, and compares what it makes of them with a split at each
// NUL.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("{}\x00{}\x00"), uint16(1))
	f.Add([]byte("\x00\x00"), uint16(1))
	f.Add([]byte("no end"), uint16(3))
	f.Add([]byte(strings.Repeat("x", 300)+"\x00{}\x00"), uint16(7))
	f.Add(bytes.Repeat([]byte("{\"method\":\"a.b.C\"}\x00"), 100), uint16(1000))
	f.Fuzz(func(t *testing.T, data []byte, piece uint16) {
		const limit = 200
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Skip(err)
		}
		ends := [2]*net.UnixConn{}
		for i, fd := range fds {
			file := os.NewFile(uintptr(fd), "socketpair")
			conn, err := net.FileConn(file)
			if err := errors.Join(err, file.Close()); err != nil {
				t.Fatal(err)
			}
			ends[i] = conn.(*net.UnixConn)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for part := range pieces(data, int(piece%500)+1) {
				if _, err := ends[0].Write(part); err != nil {
					break // the reader has had enough
				}
			}
			_ = ends[0].Close()
		}()
		w, err := newWire(ends[1], wireLimits{message: limit, descriptors: 1, pipelined: 3, stall: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		messages := bytes.Split(data, []byte{0})
		for {
			got, _, err := w.readMessage()
			if err != nil {
				checkEnd(t, err, messages, limit)
				break
			}
			if len(messages) < 2 || !bytes.Equal(got, messages[0]) {
				t.Fatalf("got %q, want %q", got, messages[0])
			}
			messages = messages[1:]
		}
		w.release()
		_ = w.close()
		<-done
	})
}

// checkEnd checks an error against what was left to read.
func checkEnd(t *testing.T, err error, left [][]byte, limit int) {
	t.Helper()
	var tooLarge *LimitError
	switch {
	case errors.As(err, &tooLarge):
		if len(left[0]) <= limit {
			t.Fatalf("%d bytes are not too many", len(left[0]))
		}
	case errors.Is(err, io.EOF):
		if len(left) != 1 || len(left[0]) != 0 {
			t.Fatalf("end of file before %q", left)
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		if len(left) != 1 || len(left[0]) == 0 {
			t.Fatalf("cut short before %q", left)
		}
	default:
		t.Fatal(err)
	}
}

func pieces(data []byte, size int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(data) > 0 {
			n := min(size, len(data))
			if !yield(data[:n]) {
				return
			}
			data = data[n:]
		}
	}
}

// FuzzParseCall checks that what is taken for a call is one for encoding/json, too, and is understood alike.
func FuzzParseCall(f *testing.F) {
	for _, s := range []string{
		`{"method":"a.b.C"}`, `{"method":"a.b.C","parameters":{"x":[1,{}]},"more":true}`, `{"method":"a.b.C","parameters":null,"oneway":false}`,
		`{"m\u0065thod":"\ud83d\ude00"}`, `{"method":"a","method":"b"}`, `{"method":"a","x.y":{}}`, `[]`, `{}`, `{"method":1}`, `{} {}`,
		strings.Repeat("[", 20000), "{\"method\":\"\xff\"}", `{"method":"a","parameters":{"a":1,"a":2}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseCall(data)
		if _, replyErr := parseReply(data); err == nil && replyErr != nil && !bytes.Contains(data, []byte("continues")) &&
			!bytes.Contains(data, []byte("error")) && !bytes.Contains(data, []byte(`\`)) {
			t.Fatalf("a call is not a reply with members of others: %v", replyErr)
		}
		if err != nil {
			return
		}
		var want struct {
			Method     string
			Parameters map[string]json.RawMessage
			Oneway     bool
			More       bool
			Upgrade    bool
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("encoding/json: %v", err)
		}
		if dec.More() || !json.Valid(got.parameters) {
			t.Fatal("more than a call")
		}
		if got.method != want.Method || got.more != want.More || got.oneway != want.Oneway || got.upgrade != want.Upgrade {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// FuzzPlain checks that messages which are read in the quick way mean the same in the slow one.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{
		`{"method":"a.b.C","parameters":{"x":[1,{}]},"more":true}`, `{"method":"a.b.C","parameters":{}}`,
		`{"method":"a.b.C","parameters":{},"oneway":true,"more":true}`, `{"method":"a","parameters":{"a":1,"a":2}}`,
		`{"method":"a.b.C","parameters":{},"more":false,"parameters":{}}`, `{"method":"\u0061","parameters":{}}`,
		`{"parameters":{"number":1},"continues":true}`, `{"parameters":{}}`, `{"parameters":{},"error":"a.b.C"}`,
		`{"parameters":{"a":",\"continues\":true}"}}`, `{"parameters":{},"\u0070arameters":{}}`, `{"parameters":{} }`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, ok := plainCall(data); ok {
			if want, err := parseAnyCall(data); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("call: %+v, want %+v, %v", got, want, err)
			}
		}
		if got, ok := plainReply(data); ok {
			if want, err := parseAnyReply(data); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("reply: %+v, want %+v, %v", got, want, err)
			}
		}
	})
}

// TestOwnMessagesArePlain checks that the quick way is the way of what this runtime writes.
func TestOwnMessagesArePlain(t *testing.T) {
	t.Parallel()
	in := map[string]int{"a": 1}
	for _, mode := range []string{"", "more", "oneway", "upgrade"} {
		m := newMessage()
		if err := m.call("a.b.C", in, mode); err != nil {
			t.Fatal(err)
		}
		text := bytes.TrimSuffix(m.Bytes(), []byte{0})
		want := envelope{
			method: "a.b.C", parameters: []byte(`{"a":1}`), more: mode == "more", oneway: mode == "oneway", upgrade: mode == "upgrade",
		}
		if got, ok := plainCall(text); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %t", text, got, ok)
		}
	}
	for _, continues := range []bool{false, true} {
		m := newMessage()
		if err := m.reply("", in, continues); err != nil {
			t.Fatal(err)
		}
		text := bytes.TrimSuffix(m.Bytes(), []byte{0})
		if got, ok := plainReply(text); !ok || string(got.parameters) != `{"a":1}` || got.continues != continues {
			t.Errorf("%s: %+v, %t", text, got, ok)
		}
	}
}

const fuzzDescription = `interface io.example.fuzz
type Color (red, dark_blue)
type Tree (name: string, children: ?[]Tree, color: ?Color)
method M(tree: Tree, number: ?int, ratio: ?float, names: ?[string]?int, flag: ?bool, anything: ?object, fileDescriptors: ?[]int) -> ()
`

type fuzzTree struct {
	Name     string     `json:"name"`
	Children []fuzzTree `json:"children"`
	Color    string     `json:"color"`
}

// FuzzValidate checks that parameters which pass can be decoded, with every descriptor named once.
func FuzzValidate(f *testing.F) {
	for _, s := range []string{
		`{"tree":{"name":""}}`, `{"tree":{"name":"a","children":[{"name":"b","color":"dark-blue"}]},"number":-9223372036854775808}`,
		`{"tree":{"name":"a","children":null},"ratio":1e308,"names":{"a":null,"b":1},"flag":false,"anything":{}}`,
		`{"tree":{"name":"a"},"fileDescriptors":[1,0]}`, `{"tree":{"name":"a"},"fileDescriptors":[]}`, `{"tree":[]}`, `{"tree":{"name":"a"},"number":1.0}`,
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(2))
	}
	d, err := parseDescription(fuzzDescription)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, files uint8) {
		e, err := parseCall([]byte(`{"method":"io.example.fuzz.M","parameters":` + string(data) + `}`))
		if err != nil {
			return
		}
		if invalid := d.methods["M"].validate(e.parameters, int(files)); invalid != nil {
			if invalid.Parameter == "" && !bytes.Contains(data, []byte(`""`)) {
				t.Error("no parameter is named")
			}
			return
		}
		var in struct {
			Tree            *fuzzTree                  `json:"tree"`
			Number          *int64                     `json:"number"`
			Ratio           *float64                   `json:"ratio"`
			Names           map[string]*int64          `json:"names"`
			Flag            *bool                      `json:"flag"`
			Anything        map[string]json.RawMessage `json:"anything"`
			FileDescriptors []int64                    `json:"fileDescriptors"`
		}
		strict := json.NewDecoder(bytes.NewReader(e.parameters))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&in); err != nil {
			t.Fatalf("%s passed: %v", e.parameters, err)
		}
		if in.Tree == nil || len(in.FileDescriptors) != int(files) {
			t.Fatalf("%s passed", e.parameters)
		}
	})
}

// FuzzInterface feeds interface descriptions.
func FuzzInterface(f *testing.F) {
	f.Add(fuzzDescription)
	f.Add(serviceDescription)
	f.Add("interface a.b\ntype T (x: ?T)\nmethod M(x: T) -> (y: [string]T)")
	f.Add("interface a.b\ntype T T\nmethod M(x: T) -> ()")
	f.Add("interface a.b\ntype T ?U\ntype U ?T\nmethod M(x: []T) -> ()")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDescription(text)
		if err != nil {
			return
		}
		for _, in := range d.methods {
			if in.validate([]byte(`{"x":{"x":{"x":null}}}`), 1) == nil && len(in.fields) == 0 {
				t.Error("a descriptor that no parameter names passed")
			}
		}
	})
}
