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
	"sync/atomic"
	"testing"
	"time"

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

// TestSecretsThatARegistryRepeats has registries that put the password they were sent into their answers.
func TestSecretsThatARegistryRepeats(t *testing.T) {
	t.Parallel()
	s := newSecretive(t)
	var repeated atomic.Int64
	for _, answer := range []struct {
		status int
		text   string // with the password
	}{
		{http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"%s is wrong","detail":"%[1]s"}]}`},
		{http.StatusForbidden, `{"errors":[{"code":"DENIED","message":"not with %s"}]}`},
		{http.StatusNotFound, `{"errors":[{"code":"NAME_UNKNOWN","message":"%s"}]}`},
		{http.StatusInternalServerError, "it was %s"},
		{http.StatusOK, `{"schemaVersion":2,"mediaType":"%s"}`},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, password, ok := req.BasicAuth()
			switch {
			case !ok:
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			case req.URL.Path != "/v2/":
				repeated.Add(1)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(answer.status)
				_, _ = fmt.Fprintf(w, answer.text, password) // a client that is gone does not want it
			}
		}))
		t.Cleanup(server.Close)
		host := strings.TrimPrefix(server.URL, "http://")
		credentials := fmt.Sprintf(`redentials":{"username":"anna","password":%q}`, secret)
		for method, in := range map[string]string{
			"Pull":   fmt.Sprintf(`{"reference":"%s/x:1","tlsVerify":false,"retries":1,"retryDelaySeconds":0,"c%s}`, host, credentials),
			"Copy":   fmt.Sprintf(`{"source":"docker://%s/x:1","destination":"dir:/nowhere/x","sourceTlsVerify":false,"sourceC%s}`, host, credentials),
			"Search": fmt.Sprintf(`{"term":"%s/x","tlsVerify":false,"listTags":true,"c%s}`, host, credentials),
		} {
			if reply := s.call(t, "io.imaged.transfers."+method, in); reply.Error == "" && method != "Search" {
				t.Errorf("%s: %s", method, reply.Raw)
			}
		}
	}
	if repeated.Load() < 10 {
		t.Errorf("the password was repeated %d times", repeated.Load())
	}
	s.lookAround(t)
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
