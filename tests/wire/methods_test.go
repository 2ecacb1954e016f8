package wire_test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	upstream "github.com/varlink/go/varlink/idl"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// rows has, for every method, the parameters of a call that succeeds in a world; $NAME stands for what is in its values, $NEW for
// another text each time.
// A new method gets a row here, or TestEveryMethodHasARow fails.
var rows = map[string]row{
	"io.imaged.images.List":    {in: `{}`},
	"io.imaged.images.Get":     {in: `{"name":"$IMAGE"}`},
	"io.imaged.images.Inspect": {in: `{"name":"$IMAGE","platform":{"os":"linux"}}`},
	"io.imaged.images.Exists":  {in: `{"name":"$IMAGE"}`},
	"io.imaged.images.Resolve": {in: `{"name":"alpine"}`},
	"io.imaged.images.History": {in: `{"name":"$ID"}`},
	"io.imaged.images.Tag":     {in: `{"name":"$IMAGE","tags":["localhost/tagged:1"]}`},
	"io.imaged.images.Untag":   {in: `{"name":"$ID","tags":["localhost/untagged:1"]}`, before: tag("localhost/untagged:1")},
	"io.imaged.images.Remove":  {in: `{"names":["localhost/removed:1"]}`, before: tag("localhost/removed:1")},

	"io.imaged.images.Tree":      {in: `{"name":"$IMAGE"}`},
	"io.imaged.images.Layers":    {in: `{}`},
	"io.imaged.images.Diff":      {in: `{"name":"$IMAGE"}`},
	"io.imaged.images.Prune":     {in: `{"filters":["label=nobody has this"]}`},
	"io.imaged.images.DiskUsage": {in: `{}`},
	"io.imaged.images.Watch":     {in: `{}`, endless: true},

	"io.imaged.transfers.Pull":   {in: `{"reference":"$IMAGE","tlsVerify":false}`},
	"io.imaged.transfers.Push":   {in: `{"name":"$IMAGE","destination":"$REGISTRY/pushed:1","tlsVerify":false}`},
	"io.imaged.transfers.Save":   {in: `{"names":["$IMAGE"],"path":"$DIR/$NEW.tar"}`},
	"io.imaged.transfers.Load":   {in: `{"path":"$DIR/archive.tar"}`, before: archive},
	"io.imaged.transfers.Import": {in: `{"path":"$DIR/rootfs.tar","name":"localhost/imported:1"}`},
	"io.imaged.transfers.Copy":   {in: `{"source":"docker://$IMAGE","destination":"docker://$REGISTRY/copied:1","sourceTlsVerify":false,"destinationTlsVerify":false}`},
	"io.imaged.transfers.Search": {in: `{"term":"$REGISTRY/sample","listTags":true,"tlsVerify":false}`},

	"io.imaged.jobs.List":   {in: `{}`},
	"io.imaged.jobs.Attach": {in: `{"job":"$JOB"}`},
	"io.imaged.jobs.Wait":   {in: `{"job":"$JOB"}`},
	"io.imaged.jobs.Cancel": {in: `{"job":"$JOB"}`},

	"io.imaged.info.GetVersion": {in: `{}`},
	"io.imaged.info.GetStore":   {in: `{}`},
	"io.imaged.info.GetLimits":  {in: `{}`},

	"io.systemd.service.Ping":           {in: `{}`},
	"io.systemd.service.SetLogLevel":    {in: `{"level":7}`},
	"io.systemd.service.GetEnvironment": {in: `{}`},

	"org.varlink.service.GetInfo":                 {in: `{}`},
	"org.varlink.service.GetInterfaceDescription": {in: `{"interface":"io.imaged.jobs"}`},
}

// row is how a method is called.
type row struct {
	in     string
	before func(t testing.TB, w *world) // makes each call possible; nil: nothing is needed
	// endless says that the replies do not end by themselves.
	endless bool
}

// world is a daemon with an image in its store.
type world struct {
	*daemon.Daemon
	registry *registrytest.Registry
	values   map[string]string
	methods  []method // those that are implemented
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOf(t, daemon.Options{ReadOnly: true})
}

func newWorldOf(t testing.TB, o daemon.Options) *world {
	t.Helper()
	r := registrytest.New(t, registrytest.Options{})
	r.PushImage(t, "sample:latest", registrytest.ImageOptions{Labels: map[string]string{"a": "<&>"}})
	w := &world{Daemon: daemon.Start(t, o), registry: r, values: map[string]string{"IMAGE": r.Ref("sample:latest")}}
	c := w.Dial(t)
	defer func() { _ = c.Close() }()
	replies := c.Replies(t, "io.imaged.transfers.Pull", w.expand(`{"reference":"$IMAGE","tlsVerify":false}`), "more")
	var result struct{ IDs []string }
	replies[len(replies)-1].Into(t, &result)
	w.values["ID"], w.values["JOB"] = result.IDs[0], replies[0].Text("job")
	w.values["REGISTRY"], w.values["DIR"] = r.Host(), w.Dir
	w.Write(t, "rootfs.tar", rootfs(t))
	w.skipUnimplemented(t)
	return w
}

// rootfs is an archive with one file.
func rootfs(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	a := tar.NewWriter(&b)
	if err := a.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// archive puts an archive of the image where Load finds it.
func archive(t testing.TB, w *world) {
	t.Helper()
	path := w.expand("$DIR/archive.tar")
	if _, err := os.Stat(path); err == nil {
		return
	}
	if r := w.Call(t, "io.imaged.transfers.Save", w.expand(`{"names":["$IMAGE"],"path":"$DIR/archive.tar"}`)); r.Error != "" {
		t.Fatalf("%s", r.Raw)
	}
}

func (w *world) expand(text string) string {
	return os.Expand(text, func(name string) string {
		if name == "NEW" {
			return rand.Text()
		}
		return w.values[name]
	})
}

func tag(name string) func(testing.TB, *world) {
	return func(t testing.TB, w *world) {
		t.Helper()
		in := fmt.Sprintf(`{"name":%q,"tags":[%q]}`, w.values["ID"], name)
		if r := w.Call(t, "io.imaged.images.Tag", in); r.Error != "" {
			t.Fatalf("%s", r.Raw)
		}
	}
}

// call prepares a call of a method and makes it.
func (w *world) call(t testing.TB, c *daemon.Conn, m method, flags ...string) []daemon.Reply {
	t.Helper()
	if before := rows[m.full()].before; before != nil {
		before(t, w)
	}
	in := w.expand(rows[m.full()].in)
	if rows[m.full()].endless && len(flags) > 0 {
		return []daemon.Reply{w.firstReply(t, m, in, flags...)}
	}
	replies := c.Replies(t, m.full(), in, flags...)
	for _, r := range replies {
		checkReply(t, m, r)
	}
	return replies
}

// firstReply is for streams that do not end: it hangs up after the first reply.
func (w *world) firstReply(t testing.TB, m method, in string, flags ...string) daemon.Reply {
	t.Helper()
	c := w.Dial(t)
	defer func() { _ = c.Close() }()
	if err := c.Send(m.full(), in, flags...); err != nil {
		t.Fatal(err)
	}
	r, err := c.Read()
	if err != nil {
		t.Fatalf("%s: %v", m.full(), err)
	}
	checkReply(t, m, r)
	return r
}

// skipUnimplemented fills in the methods that the daemon has.
func (w *world) skipUnimplemented(t testing.TB) {
	t.Helper()
	c := w.Dial(t)
	defer func() { _ = c.Close() }()
	for _, m := range methods() {
		row := rows[m.full()]
		if !row.endless {
			if r := c.Call(t, m.full(), w.expand(row.in), "more"); r.Error == "org.varlink.service.MethodNotImplemented" {
				checkReply(t, m, r)
				t.Logf("%s is not implemented", m.full())
				continue
			}
		}
		w.methods = append(w.methods, m)
	}
}

func TestEveryMethodHasARow(t *testing.T) {
	t.Parallel()
	left := maps.Clone(rows)
	for _, m := range methods() {
		if _, ok := rows[m.full()]; !ok {
			t.Errorf("%s has no row: say in the table how it is called", m.full())
		}
		delete(left, m.full())
	}
	for name := range left {
		t.Errorf("%s has a row, but no interface file has it", name)
	}
}

func TestEveryMethodWithAndWithoutMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.Dial(t) // one connection for all: an answer too many would come with the next call
	for _, m := range w.methods {
		for _, flags := range [][]string{nil, {"more"}} {
			replies := w.call(t, c, m, flags...)
			last := replies[len(replies)-1]
			switch {
			case m.requiresMore() && flags == nil:
				if last.Error != "org.varlink.service.ExpectedMore" {
					t.Errorf("%s without more: %s", m.full(), last.Raw)
				}
			case last.Error != "":
				t.Errorf("%s %v: %s", m.full(), flags, last.Raw)
			case len(replies) > 1 && (flags == nil || !m.supportsMore()):
				t.Errorf("%s %v: %d replies", m.full(), flags, len(replies))
			}
		}
	}
}

func TestEveryMethodOneway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.Dial(t)
	for _, m := range w.methods {
		if rows[m.full()].endless {
			continue // TestHangUpAfterOneway
		}
		if before := rows[m.full()].before; before != nil {
			before(t, w)
		}
		for _, in := range []string{w.expand(rows[m.full()].in), `{"nonsense":1}`} {
			if err := c.Send(m.full(), in, "oneway"); err != nil {
				t.Fatal(err)
			}
			r := c.Call(t, "org.varlink.service.GetInfo", "")
			if r.Text("product") != "imaged" {
				t.Fatalf("after a oneway %s %s: %s", m.full(), in, r.Raw)
			}
		}
	}
}

// Absent, null and empty parameters are the same.
func TestNoParameters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.Dial(t)
	for _, m := range w.methods {
		if rows[m.full()].endless {
			continue
		}
		var seen []string
		for _, in := range []string{"", "null", "{}"} {
			r := c.Call(t, m.full(), in, "more")
			checkReply(t, m, r)
			seen = append(seen, r.Error)
		}
		if seen[0] != seen[1] || seen[1] != seen[2] {
			t.Errorf("%s answers absent, null and empty parameters with %q", m.full(), seen)
		}
	}
}

// wrong are values that are none of a kind.
var wrong = map[upstream.TypeKind][]string{
	upstream.TypeBool:   {`1`, `"true"`, `[]`, `{}`},
	upstream.TypeInt:    {`1.5`, `"1"`, `true`, `[]`, `{}`, `9223372036854775808`, `-9223372036854775809`, `1e400`},
	upstream.TypeFloat:  {`"1"`, `true`, `[]`, `{}`},
	upstream.TypeString: {`1`, `true`, `[]`, `{}`},
	upstream.TypeEnum:   {`1`, `true`, `[]`, `{}`, `"no such value"`, `""`},
	upstream.TypeArray:  {`1`, `true`, `"x"`, `{}`, `[[]]`, `[null]`},
	upstream.TypeStruct: {`1`, `true`, `"x"`, `[]`, `{"no such field":1}`},
	upstream.TypeMap:    {`1`, `true`, `"x"`, `[]`, `{"a":[]}`},
	upstream.TypeObject: {`1`, `true`, `"x"`, `[]`},
}

func TestEveryParameterIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.Dial(t)
	for _, m := range w.methods {
		wantInvalid(t, c, m, map[string]json.RawMessage{"unknown": []byte("1")}, "unknown")
		for _, f := range m.In.Fields {
			kind, nullable := m.of.kind(f.Type)
			for _, value := range wrong[kind] {
				wantInvalid(t, c, m, map[string]json.RawMessage{f.Name: []byte(value)}, f.Name)
			}
			if !nullable {
				wantInvalid(t, c, m, nil, f.Name)
				wantInvalid(t, c, m, map[string]json.RawMessage{f.Name: []byte("null")}, f.Name)
			}
		}
	}
}

// kind is the kind of a type behind its names, and whether it is nullable.
func (c *contract) kind(of *upstream.Type) (upstream.TypeKind, bool) {
	switch of.Kind {
	case upstream.TypeMaybe:
		kind, _ := c.kind(of.ElementType)
		return kind, true
	case upstream.TypeAlias:
		return c.kind(c.types[of.Alias])
	}
	return of.Kind, false
}

// wantInvalid makes a call that has the other required parameters right.
func wantInvalid(t testing.TB, c *daemon.Conn, m method, in map[string]json.RawMessage, name string) {
	t.Helper()
	all := map[string]json.RawMessage{}
	for _, f := range m.In.Fields {
		if kind, nullable := m.of.kind(f.Type); !nullable && (f.Name != name || in[name] != nil) {
			all[f.Name] = valid(kind)
		}
	}
	maps.Copy(all, in)
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Call(t, m.full(), string(text), "more")
	if got := r.Text("parameter"); r.Error != "org.varlink.service.InvalidParameter" || got != name && !strings.HasPrefix(got, name+".") {
		t.Errorf("%s %s: %s, want InvalidParameter of %s", m.full(), text, r.Raw, name)
	}
}

func valid(kind upstream.TypeKind) json.RawMessage {
	switch kind {
	case upstream.TypeArray:
		return []byte("[]")
	case upstream.TypeInt:
		return []byte("0")
	}
	return []byte(`"x"`)
}
