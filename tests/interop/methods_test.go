package interop_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	upstream "github.com/varlink/go/varlink/idl"

	"github.com/imaged-project/imaged/idl"
	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/interop"
	"github.com/imaged-project/imaged/tests/registrytest"
)

const invalidParameter = "org.varlink.service.InvalidParameter"

// row is a method as other programs call it, in the order of the table: $NAME stands for what is in a world's values.
// A new method gets a row, or TestEveryMethodHasARow fails.
type row struct {
	method string
	// in is for a call that succeeds, and want is in what it prints.
	in, want string
	// bad is for a call that fails with the error.
	bad, err string
	// more says that the method can only be called with that flag; its stream does not end by itself if endless.
	more, endless bool
}

var rows = []row{
	{method: "org.varlink.service.GetInfo", in: `{}`, want: "imaged", bad: `{"x":1}`, err: invalidParameter},
	{
		method: "org.varlink.service.GetInterfaceDescription", in: `{"interface":"io.imaged.jobs"}`, want: "method Attach",
		bad: `{"interface":"io.imaged.nothing"}`, err: "org.varlink.service.InterfaceNotFound",
	},
	{method: "io.systemd.service.Ping", in: `{}`, bad: `{"x":1}`, err: invalidParameter},
	{method: "io.systemd.service.SetLogLevel", in: `{"level":7}`, bad: `{"level":8}`, err: invalidParameter},
	{method: "io.systemd.service.GetEnvironment", in: `{}`, want: "PATH=", bad: `{"x":1}`, err: invalidParameter},
	{method: "io.imaged.info.GetVersion", in: `{}`, want: "io.imaged.transfers", bad: `{"x":1}`, err: invalidParameter},
	{method: "io.imaged.info.GetStore", in: `{}`, want: "overlay", bad: `{"x":1}`, err: invalidParameter},
	{method: "io.imaged.info.GetLimits", in: `{}`, want: "bytes", bad: `{"x":1}`, err: invalidParameter},

	{
		method: "io.imaged.transfers.Pull", in: `{"reference":"$IMAGE","tlsVerify":false}`, want: "$ID",
		bad: `{"reference":"$REGISTRY/nothing:1","tlsVerify":false}`, err: "io.imaged.transfers.ReferenceNotFound",
	},
	{
		method: "io.imaged.transfers.Push", in: `{"name":"$IMAGE","destination":"$REGISTRY/pushed:1","tlsVerify":false}`, want: "sha256:",
		bad: `{"name":"localhost/nothing:1"}`, err: "io.imaged.transfers.ImageNotFound",
	},
	{
		method: "io.imaged.transfers.Save", in: `{"names":["$IMAGE"],"path":"$NEW"}`, want: "size",
		bad: `{"names":["$ID","$IMAGE"],"path":"$NEW"}`, err: "io.imaged.transfers.InvalidFormat",
	},
	{
		method: "io.imaged.transfers.Load", in: `{"path":"$DIR/archive.tar"}`, want: "$ID",
		bad: `{"path":"$DIR/garbage"}`, err: "io.imaged.transfers.InvalidArchive",
	},
	{
		method: "io.imaged.transfers.Import", in: `{"path":"$DIR/rootfs.tar","name":"localhost/imported:1","changes":["CMD /run"]}`, want: `"id"`,
		bad: `{"path":"$DIR/rootfs.tar","name":"NOT/A reference"}`, err: "io.imaged.transfers.InvalidReference",
	},
	{
		method: "io.imaged.transfers.Copy",
		in:     `{"source":"containers-storage:$IMAGE","destination":"docker://$REGISTRY/copied:1","destinationTlsVerify":false}`, want: "sha256:",
		bad: `{"source":"docker://127.0.0.1:1/a:1","destination":"dir:$DIR/new"}`, err: "io.imaged.transfers.RegistryUnreachable",
	},
	{
		method: "io.imaged.transfers.Search", in: `{"term":"$REGISTRY/sample","listTags":true,"tlsVerify":false}`, want: "latest",
		bad: `{"term":"127.0.0.1:1/a","tlsVerify":false}`, err: "io.imaged.transfers.RegistryUnreachable",
	},

	{method: "io.imaged.images.List", in: `{}`, want: "$ID", bad: `{"filters":["nothing=1"]}`, err: invalidParameter},
	{method: "io.imaged.images.Get", in: `{"name":"$IMAGE"}`, want: "$ID", bad: `{"name":"nothing"}`, err: "io.imaged.images.ImageNotFound"},
	{method: "io.imaged.images.Inspect", in: `{"name":"$IMAGE"}`, want: "rootfs", bad: `{"name":"nothing"}`, err: "io.imaged.images.ImageNotFound"},
	{method: "io.imaged.images.Exists", in: `{"name":"$IMAGE"}`, want: "true", bad: `{"name":"NOT/A reference"}`, err: "io.imaged.images.InvalidReference"},
	{method: "io.imaged.images.Resolve", in: `{"name":"quay.io/a/b"}`, want: "quay.io/a/b:latest", bad: `{"name":"NOT/A reference"}`, err: "io.imaged.images.InvalidReference"},
	{method: "io.imaged.images.History", in: `{"name":"$ID"}`, want: "createdBy", bad: `{"name":"nothing"}`, err: "io.imaged.images.ImageNotFound"},
	{method: "io.imaged.images.Tree", in: `{"name":"$IMAGE"}`, want: "$IMAGE", bad: `{"name":"nothing"}`, err: "io.imaged.images.ImageNotFound"},
	{method: "io.imaged.images.Layers", in: `{}`, want: "$ID", bad: `{"x":1}`, err: invalidParameter},
	{method: "io.imaged.images.Diff", in: `{"name":"$IMAGE"}`, want: "added", bad: `{"name":"$IMAGE","other":"nothing"}`, err: "io.imaged.images.ImageNotFound"},
	{method: "io.imaged.images.DiskUsage", in: `{}`, want: "reclaimable", bad: `{"x":1}`, err: invalidParameter},
	{method: "io.imaged.images.Tag", in: `{"name":"$IMAGE","tags":["localhost/a:1","b"]}`, bad: `{"name":"$IMAGE","tags":["A B"]}`, err: "io.imaged.images.InvalidReference"},
	{method: "io.imaged.images.Untag", in: `{"name":"$ID","tags":["localhost/a:1"]}`, bad: `{"name":"$ID","tags":[":1"]}`, err: invalidParameter},
	{method: "io.imaged.images.Remove", in: `{"names":["b"]}`, want: "localhost/b:latest", bad: `{"names":["nothing"]}`, err: "io.imaged.images.ImageNotFound"},
	{method: "io.imaged.images.Prune", in: `{"all":true,"filters":["label=nobody has this"]}`, want: "reclaimed", bad: `{"filters":["nothing=1"]}`, err: invalidParameter},
	{method: "io.imaged.images.Watch", in: `{}`, want: "ready", bad: `{"filters":["nothing=1"]}`, err: invalidParameter, more: true, endless: true},

	{method: "io.imaged.jobs.List", in: `{}`, want: "io.imaged.transfers.", bad: `{"x":1}`, err: invalidParameter},
	{method: "io.imaged.jobs.Attach", in: `{"job":"$JOB"}`, want: "$ID", bad: `{"job":"nothing"}`, err: "io.imaged.jobs.JobNotFound", more: true},
	{method: "io.imaged.jobs.Wait", in: `{"job":"$JOB"}`, want: "done", bad: `{"job":"nothing"}`, err: "io.imaged.jobs.JobNotFound"},
	{method: "io.imaged.jobs.Cancel", in: `{"job":"$JOB"}`, bad: `{"job":"nothing"}`, err: "io.imaged.jobs.JobNotFound"},
}

// streams are, by full name, the methods of the interface files; the value says whether they know the flag more.
func streams(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{"org.varlink.service.GetInfo": false, "org.varlink.service.GetInterfaceDescription": false}
	for _, name := range idl.Names() {
		parsed, err := upstream.New(idl.Description(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range parsed.Methods {
			all[name+"."+m.Name] = strings.Contains(m.Doc, "'more' flag]")
		}
	}
	return all
}

func TestEveryMethodHasARow(t *testing.T) {
	t.Parallel()
	var got []string
	for _, r := range rows {
		got = append(got, r.method)
	}
	slices.Sort(got)
	if want := slices.Sorted(maps.Keys(streams(t))); !slices.Equal(got, want) {
		t.Errorf("the table has %v, the interface files have %v", got, want)
	}
}

// world is a daemon with an image in its store, and what calls of its methods need.
type world struct {
	*daemon.Daemon
	root   *interop.Root
	values map[string]string
	fresh  int // how many paths $NEW has stood for
}

func newWorld(t *testing.T) *world {
	t.Helper()
	root := interop.Trixie(t)
	registry := registrytest.New(t, registrytest.Options{})
	registry.PushImage(t, "sample:latest", registrytest.ImageOptions{})
	w := &world{Daemon: daemon.Start(t, daemon.Options{}), root: root, values: map[string]string{"IMAGE": registry.Ref("sample:latest"), "REGISTRY": registry.Host()}}
	w.values["DIR"] = w.Dir
	root.Bind(w.Dir)
	c := daemon.Dial(t, w.Socket)
	replies := c.Replies(t, "io.imaged.transfers.Pull", w.expand(`{"reference":"$IMAGE","tlsVerify":false}`), "more")
	var pulled struct{ IDs []string }
	replies[len(replies)-1].Into(t, &pulled)
	w.values["ID"], w.values["JOB"] = pulled.IDs[0], replies[0].Text("job")
	c.Call(t, "io.imaged.transfers.Save", w.expand(`{"names":["$IMAGE"],"path":"$DIR/archive.tar"}`)).Into(t, new(any))
	write(t, filepath.Join(w.Dir, "rootfs.tar"), rootfs(t))
	write(t, filepath.Join(w.Dir, "garbage"), bytes.Repeat([]byte("garbage\n"), 1000))
	return w
}

// rootfs is a tar with one file.
func rootfs(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: 5, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("text\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *world) expand(text string) string {
	return os.Expand(text, func(name string) string {
		if name == "NEW" {
			w.fresh++
			return fmt.Sprintf("%s/new-%d", w.Dir, w.fresh)
		}
		return w.values[name]
	})
}

func TestVarlinkctlCallsEveryMethod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	more := streams(t)
	for _, r := range rows {
		if !r.more {
			out, err := w.root.Try(t, "varlinkctl", "call", "--json=short", w.Socket, r.method, w.expand(r.in))
			if err != nil || !strings.Contains(out, w.expand(r.want)) || !json.Valid([]byte(out)) {
				t.Errorf("%s: %s %v, want %s", r.method, out, err, r.want)
			}
		}
		if more[r.method] {
			if out := w.stream(t, r); !strings.Contains(out, w.expand(r.want)) {
				t.Errorf("%s with more: %s, want %s", r.method, out, r.want)
			}
		}
		flags := []string{"call", "--json=short"}
		if r.more {
			flags = append(flags, "--more")
		}
		out, err := w.root.Try(t, "varlinkctl", append(flags, w.Socket, r.method, w.expand(r.bad))...)
		if err == nil || !strings.Contains(err.Error(), r.err) {
			t.Errorf("%s %s: %s %v, want %s", r.method, r.bad, out, err, r.err)
		}
		if r.more {
			if out, err := w.root.Try(t, "varlinkctl", "call", w.Socket, r.method, w.expand(r.in)); err == nil || !strings.Contains(err.Error(), "ExpectedMore") {
				t.Errorf("%s without more: %s, %v", r.method, out, err)
			}
		}
	}
}

// stream calls a method as the documentation says, and returns the last reply; of a stream without end, the first.
func (w *world) stream(t *testing.T, r row) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var talk bytes.Buffer
	cmd := w.root.Command(ctx, "varlinkctl", "call", "-E", "--json=short", w.Socket, r.method, w.expand(r.in))
	cmd.Stderr = &talk
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		// It begins replies with the separator of RFC 7464.
		if last = strings.TrimPrefix(lines.Text(), "\x1e"); !json.Valid([]byte(last)) {
			t.Errorf("%s: a reply is no JSON: %s", r.method, last)
		}
		if r.endless {
			cancel()
			break
		}
	}
	if err := cmd.Wait(); err != nil && !r.endless {
		t.Errorf("%s: %v: %s", r.method, err, talk.Bytes())
	}
	return last
}

// everyMethod makes the calls that it reads and prints, for each, one line of JSON: the last reply, or the name of the
// error. Bad calls go past the library's own check of parameters.
const everyMethod = `
import json, sys, varlink
with varlink.Client(address=sys.argv[1]) as client:
    for row in json.load(sys.stdin):
        interface, _, method = row["method"].rpartition(".")
        with client.open(interface) as connection:
            try:
                if row["bad"]:
                    call = {"method": row["method"], "parameters": row["in"]}
                    if row["more"]:
                        call["more"] = True
                    connection._send_message(json.dumps(call).encode())
                    reply, _ = connection._next_varlink_message()
                elif row["more"]:
                    for reply in getattr(connection, method)(**row["in"], _more=True):
                        if row["endless"]:
                            break
                else:
                    reply = getattr(connection, method)(**row["in"])
                print(json.dumps({"reply": reply}))
            except varlink.VarlinkError as error:
                print(json.dumps({"error": error.error()}))
`

func TestPythonCallsEveryMethod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	type call struct {
		Method  string          `json:"method"`
		In      json.RawMessage `json:"in"`
		More    bool            `json:"more"`
		Endless bool            `json:"endless"`
		Bad     bool            `json:"bad"`

		want string
	}
	var calls []call
	more := streams(t)
	for _, r := range rows {
		if !r.more {
			calls = append(calls, call{Method: r.method, In: []byte(w.expand(r.in)), want: w.expand(r.want)})
		}
		if more[r.method] {
			calls = append(calls, call{Method: r.method, In: []byte(w.expand(r.in)), More: true, Endless: r.endless, want: w.expand(r.want)})
		}
		calls = append(calls, call{Method: r.method, In: []byte(w.expand(r.bad)), More: r.more, Bad: true, want: r.err})
	}
	in, err := json.Marshal(calls)
	if err != nil {
		t.Fatal(err)
	}
	var talk bytes.Buffer
	cmd := w.root.Command(t.Context(), "python3", "-c", everyMethod, "unix:"+w.Socket)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &talk
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, talk.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(calls) {
		t.Fatalf("%d answers to %d calls: %s", len(lines), len(calls), talk.Bytes())
	}
	for i, c := range calls {
		if failed := strings.HasPrefix(lines[i], `{"error"`); failed != c.Bad || !strings.Contains(lines[i], c.want) {
			t.Errorf("%s %s: %s, want %s", c.Method, c.In, lines[i], c.want)
		}
	}
}
