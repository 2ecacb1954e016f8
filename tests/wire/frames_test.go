package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

const ping = `{"method":"io.systemd.service.Ping"}`

// wantPing makes sure that a connection still works.
func wantPing(t testing.TB, c *daemon.Conn) {
	t.Helper()
	if r := c.Call(t, "io.systemd.service.Ping", ""); r.Error != "" {
		t.Errorf("ping: %s", r.Raw)
	}
}

func TestOneByteAWrite(t *testing.T) {
	t.Parallel()
	d := daemon.Start(t, daemon.Options{})
	c := d.Dial(t)
	for _, b := range []byte(daemon.Message("io.imaged.images.Exists", `{"name":"älpine"}`) + "\x00" + ping + "\x00") {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if r, err := c.Read(); err != nil {
			t.Errorf("%s: %v", r.Raw, err)
		}
	}
}

func TestPipelinedCalls(t *testing.T) {
	t.Parallel()
	d := daemon.Start(t, daemon.Options{})
	c := d.Dial(t)
	const calls = 2_000 // more than wait in memory
	sent := make(chan error, 1)
	go func() {
		var b bytes.Buffer
		for i := range calls {
			b.WriteString(daemon.Message("io.imaged.images.Get", fmt.Sprintf(`{"name":"localhost/%d"}`, i)) + "\x00")
		}
		_, err := c.Write(b.Bytes())
		sent <- errors.Join(err, c.CloseWrite())
	}()
	for i := range calls {
		r, err := c.Read()
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("localhost/%d", i); r.Error != "io.imaged.images.ImageNotFound" || r.Text("name") != want {
			t.Fatalf("reply %d: %s", i, r.Raw)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if r, err := c.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last reply: %s, %v", r.Raw, err)
	}
}

func TestHalfClosedClientGetsItsReplies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// A pull that takes a while: the client has long finished writing when it ends.
	w.registry.PushImage(t, "other:1", slowImage())
	c := w.Dial(t)
	if err := c.Send("io.imaged.transfers.Pull", pull(w.registry.Ref("other:1")), "more"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for {
		r, err := c.Read()
		if err != nil || r.Error != "" {
			t.Fatalf("%s, %v", r.Raw, err)
		}
		if !r.Continues {
			break
		}
	}
	if r, err := c.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last reply: %s, %v", r.Raw, err)
	}
}

// TestHostileMessages sends what no client should. A violation of the protocol ends the connection without a reply; a bad
// call is an error, after which the connection goes on.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	d := daemon.Start(t, daemon.Options{})
	const closed = "closed"
	deep := func(left, right string, n int) string { return strings.Repeat(left, n) + strings.Repeat(right, n) }
	get := func(parameters string) string { return daemon.Message("io.imaged.images.Get", parameters) }
	for name, c := range map[string]struct{ message, want string }{
		"nothing":                        {"", closed},
		"blanks":                         {"   ", closed},
		"no JSON":                        {"hello", closed},
		"half an object":                 {`{"method":"io.systemd.service.Ping"`, closed},
		"two objects":                    {ping + ping, closed},
		"array":                          {"[" + ping + "]", closed},
		"string":                         {`"io.systemd.service.Ping"`, closed},
		"null":                           {"null", closed},
		"no method":                      {`{"parameters":{}}`, closed},
		"method is null":                 {`{"method":null}`, closed},
		"method is a number":             {`{"method":1}`, closed},
		"method is an object":            {`{"method":{}}`, closed},
		"empty method":                   {`{"method":""}`, closed},
		"method without interface":       {`{"method":"Ping"}`, "org.varlink.service.InvalidParameter"},
		"unknown interface":              {`{"method":"io.nowhere.Ping"}`, "org.varlink.service.InterfaceNotFound"},
		"unknown method":                 {`{"method":"io.systemd.service.Pong"}`, "org.varlink.service.MethodNotFound"},
		"other case":                     {`{"method":"io.systemd.service.ping"}`, "org.varlink.service.MethodNotFound"},
		"very long method":               {`{"method":"io.` + strings.Repeat("x", 1<<20) + `.Ping"}`, "org.varlink.service.InterfaceNotFound"},
		"method with controls":           {`{"method":"io.\u001b[31m\n.Ping"}`, "org.varlink.service.InterfaceNotFound"},
		"flag is a number":               {`{"method":"io.systemd.service.Ping","more":1}`, closed},
		"flag is a string":               {`{"method":"io.systemd.service.Ping","oneway":"true"}`, closed},
		"more and oneway":                {`{"method":"io.systemd.service.Ping","more":true,"oneway":true}`, closed},
		"more and upgrade":               {`{"method":"io.systemd.service.Ping","more":true,"upgrade":true}`, closed},
		"unknown member":                 {`{"method":"io.systemd.service.Ping","extra":1}`, closed},
		"member of another":              {`{"method":"io.systemd.service.Ping","com.example.extra":{"a":[1]}}`, ""},
		"duplicate method":               {`{"method":"io.systemd.service.Ping","method":"io.systemd.service.Ping"}`, closed},
		"duplicate parameters":           {`{"method":"io.systemd.service.Ping","parameters":{},"parameters":{}}`, closed},
		"duplicate parameter":            {get(`{"name":"a","name":"b"}`), closed},
		"duplicate by escape":            {get(`{"name":"a","n\u0061me":"b"}`), closed},
		"parameters are an array":        {get(`[]`), closed},
		"parameters are a string":        {get(`"x"`), closed},
		"NaN":                            {daemon.Message("io.systemd.service.SetLogLevel", `{"level":NaN}`), closed},
		"Infinity":                       {daemon.Message("io.systemd.service.SetLogLevel", `{"level":-Infinity}`), closed},
		"1e999":                          {daemon.Message("io.systemd.service.SetLogLevel", `{"level":1e999}`), "org.varlink.service.InvalidParameter"},
		"1e999 seconds":                  {daemon.Message("io.imaged.transfers.Pull", `{"reference":"a","retryDelaySeconds":1e999}`), "org.varlink.service.InvalidParameter"},
		"-0.0 seconds":                   {daemon.Message("io.imaged.transfers.Pull", `{"reference":"127.0.0.1:1/a","retries":0,"retryDelaySeconds":-0.0}`), "io.imaged.transfers.RegistryUnreachable"},
		"2^63":                           {daemon.Message("io.systemd.service.SetLogLevel", `{"level":9223372036854775808}`), "org.varlink.service.InvalidParameter"},
		"2^64+7":                         {daemon.Message("io.systemd.service.SetLogLevel", `{"level":18446744073709551623}`), "org.varlink.service.InvalidParameter"},
		"a million digits":               {daemon.Message("io.systemd.service.SetLogLevel", `{"level":`+strings.Repeat("7", 1<<20)+`}`), "org.varlink.service.InvalidParameter"},
		"octal":                          {daemon.Message("io.systemd.service.SetLogLevel", `{"level":07}`), closed},
		"hexadecimal":                    {daemon.Message("io.systemd.service.SetLogLevel", `{"level":0x7}`), closed},
		"invalid UTF-8":                  {get("{\"name\":\"\xff\xfe\"}"), closed},
		"overlong UTF-8":                 {get("{\"name\":\"\xc0\x80\"}"), closed},
		"half a surrogate":               {get(`{"name":"\ud800"}`), closed},
		"comment":                        {`{/* */"method":"io.systemd.service.Ping"}`, closed},
		"byte order mark":                {"\ufeff" + ping, closed},
		"arrays 100,000 deep":            {get(`{"name":` + deep("[", "]", 100_000) + `}`), closed},
		"objects 100,000 deep":           {get(`{"name":` + deep(`{"a":`, "}", 100_000) + `}`), closed},
		"unclosed arrays 100,000 deep":   {strings.Repeat("[", 100_000), closed},
		"deep in a member of another":    {`{"method":"io.systemd.service.Ping","com.example.x":` + deep("[", "]", 100_000) + `}`, closed},
		"100,000 members of another":     {`{"method":"io.systemd.service.Ping"` + many(100_000) + `}`, ""},
		"100,000 unknown parameters":     {get(`{"name":"a"` + many(100_000) + `}`), "org.varlink.service.InvalidParameter"},
		"name of 1 MB":                   {get(`{"name":"` + strings.Repeat("a", 1<<20) + `"}`), "io.imaged.images.InvalidReference"},
		"name with NUL and controls":     {get(`{"name":"a\u0000\u001b[2J\r\n"}`), "io.imaged.images.InvalidReference"},
		"upgrade of an ordinary method":  {`{"method":"io.systemd.service.Ping","upgrade":true}`, ""},
		"descriptor that does not exist": {daemon.Message("io.imaged.transfers.Load", `{"fileDescriptor":0}`), "org.varlink.service.InvalidParameter"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := d.Dial(t)
			if _, err := conn.Write([]byte(c.message + "\x00")); err != nil && c.want != closed {
				t.Fatal(err)
			}
			r, err := conn.Read()
			switch {
			case c.want == closed && err == nil:
				t.Errorf("%.200s, want the connection closed", r.Raw)
			case c.want == closed && len(r.Raw) > 0:
				t.Errorf("%.200s before the end", r.Raw)
			case c.want != closed && (err != nil || r.Error != c.want):
				t.Errorf("%.200s, %v, want %s", r.Raw, err, c.want)
			case c.want != closed && !strings.Contains(c.message, "upgrade"):
				wantPing(t, conn)
			}
			if c.want == closed {
				if err := conn.Gone(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"com.example.m%d":%d`, i, i)
	}
	return b.String()
}

func TestMessageWithoutEnd(t *testing.T) {
	t.Parallel()
	d := daemon.Start(t, daemon.Options{})
	before := d.Memory(t)
	for range 3 {
		c := d.Dial(t)
		piece := bytes.Repeat([]byte(`{"a":`), 1<<18)
		sent := 0
		for sent < 100<<20 {
			n, err := c.Write(piece)
			sent += n
			if err != nil {
				break
			}
		}
		if sent > 20<<20 {
			t.Errorf("the daemon took %d bytes of one message", sent)
		}
		if err := c.Gone(); err != nil {
			t.Error(err)
		}
	}
	if after := d.Memory(t); after > before+128<<20 {
		t.Errorf("the daemon has grown from %d to %d MiB", before>>20, after>>20)
	}
	wantPing(t, d.Dial(t))
}

func TestSmallerMessageLimit(t *testing.T) {
	t.Parallel()
	d := daemon.Start(t, daemon.Options{Args: []string{"--limit", "varlink.message=1024"}})
	c := d.Dial(t)
	wantPing(t, c)
	if err := c.Send("io.imaged.images.Exists", fmt.Sprintf(`{"name":%q}`, strings.Repeat("a", 2000))); err != nil {
		t.Fatal(err)
	}
	if err := c.Gone(); err != nil {
		t.Error(err)
	}
	// A reply that is too long is an error that says so, and the connection goes on.
	r := registrytest.New(t, registrytest.Options{})
	r.PushImage(t, "long:1", registrytest.ImageOptions{Labels: map[string]string{"a": strings.Repeat("a", 2000)}})
	c = d.Dial(t)
	if r := c.Call(t, "io.imaged.transfers.Pull", pull(r.Ref("long:1"))); r.Error != "" {
		t.Fatalf("%s", r.Raw)
	}
	for _, flags := range [][]string{nil, {"more"}} {
		long := c.Call(t, "io.imaged.images.List", "", flags...)
		checkError(t, contracts["io.imaged.images"], long)
		if long.Error != "io.imaged.images.LimitExceeded" || long.Text("limit") != "varlink.message" {
			t.Errorf("%s", long.Raw)
		}
		wantPing(t, c)
	}
}

func TestDescriptorFlood(t *testing.T) {
	t.Parallel()
	d := daemon.Start(t, daemon.Options{})
	wantPing(t, d.Dial(t))
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fds := func(n int) []int {
		all := make([]int, n)
		for i := range all {
			all[i] = int(file.Fd())
		}
		return all
	}
	before := d.Descriptors(t)
	for range 20 {
		flood, silent, lone, polite := d.Dial(t), d.Dial(t), d.Dial(t), d.Dial(t)
		// As many as the kernel passes at once, with a call; again and again without a call; one with half a message.
		if err := errors.Join(flood.SendFiles(ping+"\x00", fds(253)...), lone.SendFiles("{", fds(1)...)); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if silent.SendFiles("{", fds(253)...) != nil {
				break // closed already
			}
		}
		if err := polite.SendFiles(ping+"\x00", fds(2)...); err != nil {
			t.Fatal(err)
		}
		if r, err := polite.Read(); err != nil || r.Error != "org.varlink.service.InvalidParameter" {
			t.Errorf("descriptors that nothing names: %s, %v", r.Raw, err)
		}
		wantPing(t, polite)
		for _, c := range []*daemon.Conn{flood, silent} {
			if err := c.Gone(); err != nil {
				t.Error(err)
			}
		}
		for _, c := range []*daemon.Conn{flood, silent, lone, polite} {
			_ = c.Close()
		}
	}
	daemon.Await(t, "the daemon has no more descriptors than before", func() bool { return d.Descriptors(t) <= before })
}

// TestExec is varlinkctl's way to start a service: descriptor 3 is a connected socket, and the service ends with it.
func TestExec(t *testing.T) {
	t.Parallel()
	for name, prune := range map[string]string{"varlink": "", "varlink-ro": permissionDenied} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testExec(t, name, prune)
		})
	}
}

// testExec calls a daemon on a connection of that name. Prune is the error of a call that may change something.
func testExec(t *testing.T, name, prune string) {
	t.Helper()
	d := daemon.Prepare(t, daemon.Options{})
	ours, theirs := socketpair(t)
	var stdout bytes.Buffer
	cmd := activated(d, d.Command(t, d.StoreArgs()...), name)
	cmd.ExtraFiles, cmd.Stdout = []*os.File{theirs}, &stdout
	d.Run(t, cmd, false)
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantPing(t, ours)
	}
	r := ours.Call(t, "io.imaged.images.List", "")
	if string(r.Parameters) != `{"images":[]}` {
		t.Errorf("%s", r.Raw)
	}
	if r := ours.Call(t, "io.imaged.images.Prune", ""); r.Error != prune {
		t.Errorf("%s", r.Raw)
	}
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := d.Wait(); err != nil {
		t.Errorf("imaged ended: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if stdout.Len() > 0 {
		t.Errorf("on standard output: %q", stdout.String())
	}
}

// activated makes a command one that a service manager starts: descriptors from 3 on are sockets with these names.
func activated(_ *daemon.Daemon, cmd *exec.Cmd, names ...string) *exec.Cmd {
	// LISTEN_PID is the daemon's own id, which only it can know.
	cmd.Args = append([]string{"/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	return cmd
}
