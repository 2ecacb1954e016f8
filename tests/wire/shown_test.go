package wire_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// evil would clear a terminal, forge lines and turn around the direction of writing.
const evil = "\x1b[2J\r\nlevel=error msg=forged\x00\u202egnp.exe\u2028\u009b31m\x7fend"

// wantNoControls makes sure that nothing in a text but ends of lines does more than be seen.
func wantNoControls(t testing.TB, where, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)) {
			t.Errorf("%s has %U: %.500q", where, r, text)
			return
		}
	}
}

// TestControlsAreEscaped has a registry and an image whose texts would write to a terminal and forge lines of a log.
func TestControlsAreEscaped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.Dial(t)
	quoted := string(encode(t, evil))
	for _, f := range []registrytest.Fault{
		{Status: 403, Code: "DENIED", Message: evil},
		{Status: 404, Code: "MANIFEST_UNKNOWN", Message: evil},
		{Status: 500, Body: []byte(evil)},
		{Status: 401, Message: evil},
		{Body: []byte(evil)},
		{Body: []byte(`{"schemaVersion":2,"mediaType":` + quoted + `}`)},
		{Status: 200, Body: []byte("{}"), Header: map[string]string{"Content-Type": "a/\u202eb"}},
	} {
		w.registry.Misbehave(registrytest.Rule{Path: "/manifests/", Fault: f})
		for _, r := range c.Replies(t, "io.imaged.transfers.Pull", pull(w.registry.Ref("sample:latest"), `"retries":1,"retryDelaySeconds":0`), "more") {
			if r.Continues {
				var lines struct{ Lines []struct{ Text string } }
				r.Into(t, &lines)
				for _, l := range lines.Lines {
					wantNoControls(t, "a line", l.Text)
				}
				continue
			}
			wantNoControls(t, "message", r.Text("message"))
			wantNoControls(t, "reason", r.Text("reason"))
		}
		w.registry.Behave()
	}
	for _, m := range []string{"io.imaged.images.Get", "io.imaged.images.Resolve", "io.imaged.transfers.Pull"} {
		in := fmt.Sprintf(`{"name":%s}`, quoted)
		if m == "io.imaged.transfers.Pull" {
			in = fmt.Sprintf(`{"reference":%s}`, quoted)
		}
		r := c.Call(t, m, in)
		wantNoControls(t, "message of "+m, r.Text("message"))
	}
	// A client that writes nonsense is in the log, too.
	bad := w.Dial(t)
	if _, err := bad.Write([]byte(evil + "\x00")); err != nil {
		t.Fatal(err)
	}
	if err := bad.Gone(); err != nil {
		t.Error(err)
	}
	w.registry.PushImage(t, "evil:1", registrytest.ImageOptions{Labels: map[string]string{evil: evil}, Env: []string{"A=" + evil}, Cmd: []string{evil}})
	if r := c.Call(t, "io.imaged.transfers.Pull", pull(w.registry.Ref("evil:1"))); r.Error != "" {
		t.Errorf("%s", r.Raw)
	}
	// Data comes back as they are.
	if r := c.Call(t, "io.imaged.images.Inspect", fmt.Sprintf(`{"name":%q}`, w.registry.Ref("evil:1"))); r.Error != "" || !strings.Contains(string(r.Raw), `gnp.exe`) {
		t.Errorf("%s", r.Raw)
	}
	wantNoControls(t, "the log", w.Log())
	if strings.Contains(w.Log(), "\nlevel=error msg=forged") {
		t.Error("a line of the log is forged")
	}
}

// TestStrangeConfigurations are stored as they came, so they must be shown, too.
func TestStrangeConfigurations(t *testing.T) {
	t.Parallel()
	for name, extra := range map[string]string{
		"duplicate keys":   `,"x":1,"x":2`,
		"invalid UTF-8":    ",\"x\":\"\xff\"",
		"half a surrogate": `,"x":"\ud800"`,
		"labels":           ",\"config\":{\"Labels\":{\"a\":\"\xff\",\"a\":\"\\ud800\",\"\xfe\":\"\"}}",
		"huge number":      `,"x":1e999`,
		"deep":             `,"x":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000),
		"null labels":      `,"config":{"Labels":null,"Env":null,"Cmd":null,"Volumes":null}`,
		"null fields":      `,"created":null,"history":null`,
		"strange time":     `,"created":"9999-12-31T23:59:59.999999999+23:59"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := registrytest.New(t, registrytest.Options{})
			p := goodParts(t, r)
			text := encode(t, p.config)
			p.configure(t, append(text[:len(text)-1], extra+"}"...))
			r.PushManifest(t, "bad:1", ociManifest, encode(t, p.manifest))
			d, reply := pullOf(t, r.Ref("bad:1"), daemon.Options{})
			if reply.Error != "" {
				t.Logf("%s", reply.Raw)
				if strings.HasSuffix(reply.Error, ".Failed") {
					t.Errorf("%s", reply.Raw)
				}
				wantEmpty(t, d)
				return
			}
			c := d.Dial(t)
			for _, m := range methods() {
				if m.Name == "Inspect" || m.Name == "Get" || m.Name == "History" || m.Name == "Tree" {
					r := c.Call(t, m.full(), fmt.Sprintf(`{"name":%q}`, r.Ref("bad:1")))
					checkReply(t, m, r)
					if r.Error != "" {
						t.Errorf("%s: %s", m.full(), r.Raw)
					}
				}
			}
		})
	}
}

// pushEvil pushes an image all of whose texts are evil.
func pushEvil(t testing.TB, r *registrytest.Registry) {
	t.Helper()
	var layer bytes.Buffer
	a := tar.NewWriter(&layer)
	name := strings.ReplaceAll(evil, "\x00", "")
	if err := a.WriteHeader(&tar.Header{Name: name, Linkname: name, Typeflag: tar.TypeSymlink}); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	p := goodParts(t, r)
	p.layer = compressed(t, layer.Bytes())
	r.PushBlob(t, "bad", p.layer)
	set, list := map[string]any{evil: map[string]any{}}, []string{evil, "A=" + evil}
	step := map[string]any{"created": "2020-01-01T00:00:00Z", "created_by": evil, "comment": evil, "author": evil}
	p.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}}
	p.config["author"], p.config["comment"], p.config["variant"] = evil, evil, "v8"
	p.config["history"] = []any{step, map[string]any{"created_by": evil, "empty_layer": true}}
	p.config["config"] = map[string]any{
		"User": evil, "ExposedPorts": set, "Env": list, "Entrypoint": list, "Cmd": list, "Volumes": set, "WorkingDir": evil,
		"Labels": map[string]string{evil: evil}, "StopSignal": evil, "OnBuild": list,
	}
	p.configure(t, encode(t, p.config))
	p.manifest["layers"] = []manifest{descriptor(ociLayer, digest(p.layer), len(p.layer))}
	p.manifest["annotations"] = map[string]string{evil: evil}
	r.PushManifest(t, "bad:1", ociManifest, encode(t, p.manifest))
}

// TestImagectlShowsNoControls has every command print what evil registries and images say.
func TestImagectlShowsNoControls(t *testing.T) {
	t.Parallel()
	r := registrytest.New(t, registrytest.Options{})
	pushEvil(t, r)
	r.PushImage(t, "denied:1", registrytest.ImageOptions{})
	r.Misbehave(registrytest.Rule{Path: "/v2/denied/", Fault: registrytest.Fault{Status: 403, Code: "DENIED", Message: evil}})
	quoted := string(encode(t, evil))
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path == "/v1/search":
			fmt.Fprintf(w, `{"num_results":2,"results":[{"name":"a","description":%s},{"name":%s,"description":"b"}]}`, quoted, quoted)
		case strings.HasSuffix(req.URL.Path, "/tags/list"):
			fmt.Fprintf(w, `{"name":"a","tags":["good",%s]}`, quoted)
		case req.URL.Path != "/v2/":
			http.NotFound(w, req)
		}
	}))
	t.Cleanup(shop.Close)
	d := daemon.Start(t, daemon.Options{})
	image, host := r.Ref("bad:1"), strings.TrimPrefix(shop.URL, "http://")
	seen := 0
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(daemon.Binary(t, "imagectl"), append([]string{"--address", "unix:" + d.Socket}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.Dir}
		out, err := cmd.CombinedOutput()
		wantNoControls(t, strings.Join(args, " "), string(out))
		if strings.Contains(string(out), "\nlevel=error") {
			t.Errorf("%q forges a line: %s", args, out)
		}
		if strings.Contains(string(out), "gnp.exe") {
			seen++
		} else {
			t.Logf("%q (%v) does not show it: %.300s", args, err, out)
		}
	}
	pulled := []string{"pull", "--tls-verify=false", "--retry", "0"}
	run(append(pulled, image)...)
	run(append(pulled, r.Ref("denied:1"))...)
	run(append(pulled, strings.ReplaceAll(evil, "\x00", ""))...)
	for _, words := range [][]string{
		{"images"},
		{"images", "--filter", "label=" + strings.ReplaceAll(evil, "\x00", "")},
		{"get", image},
		{"inspect", image},
		{"history", "--no-trunc", image},
		{"tree", image},
		{"diff", image},
		{"df", "-v"},
		{"jobs"},
		{"layers"},
		{"info"},
		{"search", "--tls-verify=false", "--no-trunc", host + "/a"},
		{"search", "--tls-verify=false", "--list-tags", host + "/a"},
	} {
		run(words...)
		run(append(words, "--json")...)
		if words[0] == "tree" || words[0] == "info" {
			continue
		}
		for _, format := range []string{"json", "{{.}}", "{{json .}}", "table {{.}}", `{{printf "%s\n" .}}`, "{{println .}}"} {
			run(append(words, "--format", format)...)
		}
	}
	for words, format := range map[string]string{
		"history":       "{{.CreatedBy}} {{.Comment}}",
		"images":        "{{.Labels}}{{range $k, $v := .Labels}}{{$k}}{{$v}}{{end}}",
		"inspect":       "{{.Author}}{{index .Config.Env 0}}{{join .Config.Cmd \" \"}}{{upper .Author}}{{truncate .Author 9}}{{range .Config.Labels}}{{.}}{{end}}",
		"inspect -f":    "{{range .History}}{{.CreatedBy}}{{end}}{{range $k, $v := .Annotations}}{{$k}}{{end}}",
		"history table": "table {{.CreatedBy}}\t{{.Comment}}",
	} {
		command, _, _ := strings.Cut(words, " ")
		if command == "images" {
			run(command, "--format", format)
		} else {
			run(command, "--format", format, image)
		}
	}
	if seen < 30 {
		t.Errorf("only %d commands show what they should escape", seen)
	}
	wantNoControls(t, "the log", d.Log())
}
