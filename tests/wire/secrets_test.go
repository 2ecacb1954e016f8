package wire_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// secret is in no word list and no library.
const secret = "kz9Qvt4ZrWq7"

// traces are the forms in which it might appear.
var traces = []string{secret, base64.StdEncoding.EncodeToString([]byte("anna:" + secret)), fmt.Sprintf("%x", secret)}

func wantNoSecret(t testing.TB, where, text string) {
	t.Helper()
	for _, trace := range traces {
		if i := strings.Index(text, trace); i >= 0 {
			t.Errorf("%s has the secret: …%s", where, text[max(0, i-200):min(len(text), i+100)])
		}
	}
}

// snoop looks at the daemon's children until the test ends, and returns how many it saw.
func snoop(t testing.TB, d *daemon.Daemon) (seen func() int) {
	t.Helper()
	stop := make(chan struct{})
	var group sync.WaitGroup
	pids := map[int]bool{}
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
			for _, pid := range d.Children(t) {
				if pids[pid] {
					continue
				}
				pids[pid] = true
				for _, file := range []string{"cmdline", "environ"} {
					// A child that has ended has nothing to tell.
					text, _ := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), file))
					wantNoSecret(t, file+" of a child", string(bytes.ReplaceAll(text, []byte{0}, []byte(" "))))
				}
			}
		}
	})
	return func() int {
		close(stop)
		group.Wait()
		return len(pids)
	}
}

// secretive is a daemon that has the secret in its environment and in its user's authfile, and a client whose every reply is
// looked at.
type secretive struct {
	*daemon.Daemon
	conn *daemon.Conn
}

func newSecretive(t testing.TB, hosts ...string) *secretive {
	t.Helper()
	proxy := "http://anna:" + secret + "@127.0.0.1:1"
	login := base64.StdEncoding.EncodeToString([]byte("anna:" + secret))
	logins := fmt.Sprintf(`"broken.test":{"auth":%q}`, secret)
	for _, host := range hosts {
		logins += fmt.Sprintf(`,%q:{"auth":%q}`, host, login)
	}
	d := daemon.Start(t, daemon.Options{
		Args: []string{"--log-level", "trace"},
		Env: []string{
			"HTTP_PROXY=" + proxy, "HTTPS_PROXY=" + proxy, "http_proxy=" + proxy, "https_proxy=" + proxy, "ALL_PROXY=" + proxy,
			"NO_PROXY=127.0.0.1,localhost", "REGISTRY_TOKEN=" + secret, "AWS_SECRET_ACCESS_KEY=" + secret,
		},
		Files: map[string]string{"containers/auth.json": `{"auths":{` + logins + `}}`},
	})
	return &secretive{d, d.Dial(t)}
}

func (s *secretive) call(t testing.TB, method, in string) daemon.Reply {
	t.Helper()
	all := s.conn.Replies(t, method, in, "more")
	for _, r := range all {
		wantNoSecret(t, method, string(r.Raw))
	}
	return all[len(all)-1]
}

// lookAround looks at what others can see of the daemon and its jobs.
func (s *secretive) lookAround(t testing.TB) {
	t.Helper()
	s.call(t, "io.imaged.jobs.List", "")
	s.call(t, "io.systemd.service.GetEnvironment", "")
	for _, file := range []string{"cmdline", "environ", "comm", "mountinfo"} {
		text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(s.PID()), file))
		if err != nil {
			t.Error(err)
		}
		wantNoSecret(t, file, string(text))
	}
	wantNoSecret(t, "the log", s.Log())
}

func TestSecretsAppearNowhere(t *testing.T) {
	t.Parallel()
	password := fmt.Sprintf(`"credentials":{"username":"anna","password":%q}`, secret)
	identity := fmt.Sprintf(`"credentials":{"identityToken":%q}`, secret)
	known := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, Username: "anna", Password: secret})
	known.PushImage(t, "sample:1", slowImage())
	s := newSecretive(t, known.Host())
	seen := snoop(t, s.Daemon)
	events := s.Dial(t)
	if err := events.Send("io.imaged.images.Watch", "", "more"); err != nil {
		t.Fatal(err)
	}
	if r := s.call(t, "io.imaged.transfers.Pull", pull(known.Ref("sample:1"))); r.Error != "" {
		t.Errorf("with the authfile: %s", r.Raw)
	}
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthBearer} {
		good := registrytest.New(t, registrytest.Options{Auth: auth, Username: "anna", Password: secret, IdentityToken: secret})
		other := registrytest.New(t, registrytest.Options{Auth: auth, Username: "anna", Password: "another", IdentityToken: "another"})
		for i, r := range []*registrytest.Registry{good, other} {
			r.PushImage(t, "sample:1", slowImage())
			s.call(t, "io.imaged.transfers.Pull", pull(r.Ref("sample:1"), identity, `"retries":0`))
			reply := s.call(t, "io.imaged.transfers.Pull", pull(r.Ref("sample:1"), password, `"retries":0`))
			if (reply.Error == "") != (i == 0) {
				t.Errorf("%s", reply.Raw)
			}
			s.call(t, "io.imaged.transfers.Push", fmt.Sprintf(`{"name":%q,"destination":%q,"tlsVerify":false,"retries":0,%s}`, r.Ref("sample:1"), r.Ref("pushed:1"), password))
			s.call(t, "io.imaged.transfers.Search", fmt.Sprintf(`{"term":%q,"tlsVerify":false,%s}`, r.Ref("sample"), password))
			s.call(t, "io.imaged.transfers.Copy", fmt.Sprintf(`{"source":%q,"destination":%q,"sourceTlsVerify":false,"destinationTlsVerify":false,"sourceC%s,"destinationC%s}`,
				"docker://"+r.Ref("sample:1"), "docker://"+r.Ref("copied:1"), password[2:], password[2:]))
		}
	}
	// Through the proxy, which does not answer, and with logins of the authfile that make no sense.
	for _, host := range []string{"registry.invalid", "broken.test"} {
		s.call(t, "io.imaged.transfers.Pull", pull(host+"/sample:1", password, `"retries":0`))
		s.call(t, "io.imaged.transfers.Pull", pull(host+"/sample:1", `"retries":0`))
		s.call(t, "io.imaged.transfers.Import", fmt.Sprintf(`{"url":"http://anna:%s@%s/x"}`, secret, host))
	}
	for _, text := range []string{`{"auths":{"x":{"auth":` + secret, `{"auths":{"x":{"identitytoken":7,"auth":"` + secret + `"}}}`, `"` + secret + `"`} {
		s.Write(t, "containers/auth.json", text)
		s.call(t, "io.imaged.transfers.Pull", pull(known.Ref("sample:1")))
		s.call(t, "io.imaged.transfers.Search", fmt.Sprintf(`{"term":%q,"tlsVerify":false}`, known.Ref("sample")))
	}
	s.lookAround(t)
	if n := seen(); n == 0 {
		t.Error("no child was seen")
	}
	// What Watch has told is read last, and the daemon's end ends it.
	if err := events.CloseWrite(); err != nil {
		t.Error(err)
	}
	for told := 0; ; told++ {
		r, err := events.ReadWithin(time.Second)
		if err != nil {
			if told < 5 {
				t.Errorf("only %d events: %v", told, err)
			}
			break
		}
		wantNoSecret(t, "an event", string(r.Raw))
	}
}

// TestSecretsInTexts has the secret where it does not belong: in names, paths and addresses, of a caller and of a registry.
func TestSecretsInTexts(t *testing.T) {
	t.Parallel()
	s := newSecretive(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/away" {
			http.Redirect(w, req, "http://anna:"+secret+"@127.0.0.1:1/x?X-Amz-Signature="+secret, http.StatusFound)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	for _, text := range []string{
		"https://anna:" + secret + "@127.0.0.1:1/sample:1", "docker://anna:" + secret + "@127.0.0.1:1/sample:1", "anna:" + secret + "@127.0.0.1:1/sample:1",
		"http://127.0.0.1:1/x?token=" + secret, "http://anna:" + secret + "@" + host + "/x", "http://" + secret + "@" + host + "/away",
		"anna:a/" + secret + "@127.0.0.1:1/sample", "http://anna:a/" + secret + "@127.0.0.1:1/sample",
	} {
		for _, method := range []string{"Get", "Inspect", "Exists", "Resolve", "History", "Tree", "Diff"} {
			s.call(t, "io.imaged.images."+method, fmt.Sprintf(`{"name":%q}`, text))
		}
		s.call(t, "io.imaged.images.Tag", fmt.Sprintf(`{"name":"x","tags":[%q]}`, text))
		s.call(t, "io.imaged.images.Untag", fmt.Sprintf(`{"name":%q,"tags":[%q]}`, text, text))
		s.call(t, "io.imaged.images.Remove", fmt.Sprintf(`{"names":[%q,%q]}`, text, text))
		s.call(t, "io.imaged.images.List", fmt.Sprintf(`{"filters":["reference=%s"]}`, text))
		s.call(t, "io.imaged.transfers.Pull", fmt.Sprintf(`{"reference":%q,"retries":0}`, text))
		s.call(t, "io.imaged.transfers.Push", fmt.Sprintf(`{"name":%q,"destination":%q,"retries":0}`, text, text))
		s.call(t, "io.imaged.transfers.Copy", fmt.Sprintf(`{"source":%q,"destination":%q}`, text, text))
		s.call(t, "io.imaged.transfers.Search", fmt.Sprintf(`{"term":%q}`, text))
		s.call(t, "io.imaged.transfers.Import", fmt.Sprintf(`{"url":%q}`, text))
		s.call(t, "io.imaged.transfers.Save", fmt.Sprintf(`{"names":[%q],"path":"/nowhere/x"}`, text))
		s.call(t, "io.imaged.transfers.Load", fmt.Sprintf(`{"path":"/nowhere/x","name":%q}`, text))
	}
	// A blob at a signed address that breaks off, and a realm with a login in it.
	r := registrytest.New(t, registrytest.Options{})
	r.PushImage(t, "sample:1", slowImage())
	blobs := registrytest.New(t, registrytest.Options{})
	blobs.PushImage(t, "sample:1", slowImage())
	blobs.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Fault: registrytest.Fault{Reset: true, After: 100}})
	signed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, blobs.URL()+req.URL.Path+"?X-Amz-Signature="+secret, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(signed.Close)
	r.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Fault: registrytest.Fault{Redirect: signed.URL + "/"}})
	for _, retries := range []int{0, 2} {
		if reply := s.call(t, "io.imaged.transfers.Pull", pull(r.Ref("sample:1"), fmt.Sprintf(`"retries":%d,"retryDelaySeconds":0`, retries))); reply.Error == "" {
			t.Errorf("%s", reply.Raw)
		}
	}
	for _, realm := range []string{"http://anna:" + secret + "@127.0.0.1:1/token", server.URL + "/token?key=" + secret} {
		challenges := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, Realm: realm})
		s.call(t, "io.imaged.transfers.Pull", pull(challenges.Ref("sample:1"), `"retries":0`))
	}
	s.lookAround(t)
}

// TestControlsAreEscaped has a registry and an image whose texts would write to a terminal and forge lines of a log.
func TestControlsAreEscaped(t *testing.T) {
	t.Parallel()
	const evil = "\x1b[2J\r\nlevel=error msg=forged\x00\u202egnp.exe\u2028end"
	w := newWorld(t)
	check := func(where, text string) {
		t.Helper()
		for _, r := range text {
			if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r)) {
				t.Errorf("%s has %U: %.500q", where, r, text)
				return
			}
		}
	}
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
					check("a line", l.Text)
				}
				continue
			}
			check("message", r.Text("message"))
			check("reason", r.Text("reason"))
		}
		w.registry.Behave()
	}
	for _, m := range []string{"io.imaged.images.Get", "io.imaged.images.Resolve", "io.imaged.transfers.Pull"} {
		in := fmt.Sprintf(`{"name":%s}`, quoted)
		if m == "io.imaged.transfers.Pull" {
			in = fmt.Sprintf(`{"reference":%s}`, quoted)
		}
		r := c.Call(t, m, in)
		check("message of "+m, r.Text("message"))
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
	check("the log", w.Log())
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
