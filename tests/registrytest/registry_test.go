package registrytest

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// client makes plain requests to a registry.
type client struct {
	*http.Client
	base               string
	username, password string
	token              string
}

// newClient returns a client for r that keeps no connection and follows no
// redirect.
func newClient(r *Registry) *client {
	return &client{base: r.URL(), Client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// get returns status, headers and body of a path; an error in the body's
// transfer comes with what was read.
func (c *client) get(t *testing.T, path string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.username != "" {
		req.SetBasicAuth(c.username, c.password)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res, body, err
}

// status returns the status of a path.
func (c *client) status(t *testing.T, path string) int {
	t.Helper()
	res, _, err := c.get(t, path)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return res.StatusCode
}

// firstLayer returns the path of an image's first layer, and its size.
func (c *client) firstLayer(t *testing.T, repository, tag string) (path string, size int64) {
	t.Helper()
	_, body, err := c.get(t, "/v2/"+repository+"/manifests/"+tag)
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Layers []struct {
			Digest string
			Size   int64
		}
	}
	if err := json.Unmarshal(body, &manifest); err != nil {
		t.Fatalf("manifest %s: %v", body, err)
	}
	return "/v2/" + repository + "/blobs/" + manifest.Layers[0].Digest, manifest.Layers[0].Size
}

func TestImagesAreReproducibleAndDistinct(t *testing.T) {
	t.Parallel()
	a, b := New(t, Options{}), New(t, Options{})
	first := a.PushImage(t, "some/repo:1", ImageOptions{})
	if again := b.PushImage(t, "some/repo:1", ImageOptions{}); again != first {
		t.Errorf("the same image came out as %s and %s", first, again)
	}
	if other := a.PushImage(t, "some/repo:2", ImageOptions{}); other == first {
		t.Errorf("images of different names are both %s", other)
	}
	if docker := a.PushImage(t, "some/docker:1", ImageOptions{Docker: true, Seed: 1}); docker == first {
		t.Errorf("a Docker image has the OCI image's digest")
	}
}

func TestBlobIsWhatItsDigestSays(t *testing.T) {
	t.Parallel()
	r := New(t, Options{})
	r.PushImage(t, "repo:tag", ImageOptions{LayerSize: 1 << 20})
	c := newClient(r)
	path, size := c.firstLayer(t, "repo", "tag")
	_, body, err := c.get(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("/v2/repo/blobs/sha256:%x", sha256.Sum256(body)); got != path || int64(len(body)) != size {
		t.Errorf("blob %s of %d bytes has %d bytes and digest %s", path, size, len(body), got)
	}
	if n := r.Downloads()[filepath.Base(path)]; n != 1 {
		t.Errorf("Downloads says %d, want 1", n)
	}
	if r.BytesSent() < size {
		t.Errorf("BytesSent says %d, want at least %d", r.BytesSent(), size)
	}
	if n := r.Count(http.MethodPut, ""); n != 0 {
		t.Errorf("pushing was recorded %d times", n)
	}
}

func TestIndexNamesPlatforms(t *testing.T) {
	t.Parallel()
	r := New(t, Options{})
	r.PushIndex(t, "repo:multi", ImageOptions{}, ImageOptions{Platform: "linux/arm64/v8"})
	_, body, err := newClient(r).get(t, "/v2/repo/manifests/multi")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"amd64"`, `"arm64"`, `"v8"`} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the index lacks %s: %s", want, body)
		}
	}
}

func TestBasicAuth(t *testing.T) {
	t.Parallel()
	r := New(t, Options{Auth: AuthBasic, Username: "user", Password: "secret"})
	c := newClient(r)
	if got := c.status(t, "/v2/"); got != http.StatusUnauthorized {
		t.Errorf("without a password: %d", got)
	}
	c.username, c.password = "user", "wrong"
	if got := c.status(t, "/v2/"); got != http.StatusUnauthorized {
		t.Errorf("with a wrong password: %d", got)
	}
	c.password = "secret"
	if got := c.status(t, "/v2/"); got != http.StatusOK {
		t.Errorf("with the password: %d", got)
	}
	if got := r.Requests(); len(got) != 3 || got[0].Authorization != "" || got[2].Authorization == "" || got[2].Status != 200 {
		t.Errorf("recorded: %+v", got)
	}
}

func TestBearerAuth(t *testing.T) {
	t.Parallel()
	r := New(t, Options{Auth: AuthBearer, Username: "user", Password: "secret", IdentityToken: "identity"})
	c := newClient(r)
	res, _, err := c.get(t, "/v2/some/repo/manifests/latest")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`Bearer realm="%s/token",service="registrytest",scope="repository:some/repo:pull"`, r.URL())
	if got := res.Header.Get("WWW-Authenticate"); got != want || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("challenge: %d %s, want %s", res.StatusCode, got, want)
	}
	if got := c.status(t, "/token"); got != http.StatusUnauthorized {
		t.Errorf("token without a password: %d", got)
	}
	c.username, c.password = "user", "secret"
	_, body, err := c.get(t, "/token")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	c.username, c.token = "", answer.Token
	if got := c.status(t, "/v2/"); got != http.StatusOK {
		t.Errorf("with a token: %d", got)
	}
	r.ExpireTokens()
	if got := c.status(t, "/v2/"); got != http.StatusUnauthorized {
		t.Errorf("with an expired token: %d", got)
	}
	for identity, want := range map[string]int{"identity": 200, "other": 401} {
		res, err := c.PostForm(r.URL()+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {identity}})
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != want {
			t.Errorf("identity token %q: %d, want %d (%v)", identity, res.StatusCode, want, err)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	r := New(t, Options{TLS: true})
	c := newClient(r)
	if _, _, err := c.get(t, "/v2/"); err == nil {
		t.Error("an unknown CA was trusted")
	}
	ca, err := os.ReadFile(filepath.Join(r.CertDir(), "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}
	if got := c.status(t, "/v2/"); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	close(released)
	tests := []struct {
		name  string
		fault Fault
		check func(res *http.Response, body, truth []byte, err error) bool
	}{
		{"status", Fault{Status: 429, RetryAfter: "7", Message: "slow down"}, func(res *http.Response, body, _ []byte, err error) bool {
			return err == nil && res.StatusCode == 429 && res.Header.Get("Retry-After") == "7" && strings.Contains(string(body), "slow down")
		}},
		{"redirect", Fault{Redirect: "http://127.0.0.1:1/"}, func(res *http.Response, _, _ []byte, _ error) bool {
			return res.StatusCode == 307 && strings.HasPrefix(res.Header.Get("Location"), "http://127.0.0.1:1/v2/repo/blobs/")
		}},
		{"reset", Fault{Reset: true}, func(_ *http.Response, _, _ []byte, err error) bool {
			return errors.Is(err, syscall.ECONNRESET)
		}},
		{"reset later", Fault{Reset: true, After: 1000}, func(_ *http.Response, body, _ []byte, err error) bool {
			return errors.Is(err, syscall.ECONNRESET) && len(body) <= 1000
		}},
		{"truncate", Fault{Truncate: true, After: 1000}, func(_ *http.Response, body, _ []byte, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && len(body) == 1000
		}},
		{"corrupt", Fault{Corrupt: true, After: 1000}, func(_ *http.Response, body, truth []byte, err error) bool {
			return err == nil && len(body) == len(truth) && body[1000] == ^truth[1000] && string(body[1001:]) == string(truth[1001:])
		}},
		{"corrupt at once", Fault{Corrupt: true}, func(_ *http.Response, body, truth []byte, err error) bool {
			return err == nil && len(body) == len(truth) && body[0] == ^truth[0]
		}},
		{"other body", Fault{Body: []byte("not this"), Header: map[string]string{"Content-Type": "text/html"}}, func(res *http.Response, body, _ []byte, err error) bool {
			return err == nil && string(body) == "not this" && res.Header.Get("Content-Type") == "text/html"
		}},
		{"claims more", Fault{ContentLength: 1 << 30}, func(res *http.Response, body, truth []byte, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && res.ContentLength == 1<<30 && len(body) == len(truth)
		}},
		{"claims less", Fault{ContentLength: 10}, func(res *http.Response, body, _ []byte, err error) bool {
			return err == nil && res.ContentLength == 10 && len(body) <= 10
		}},
		{"stall, released", Fault{Stall: released, After: 1000}, func(_ *http.Response, body, truth []byte, err error) bool {
			return err == nil && string(body) == string(truth)
		}},
		{"slow", Fault{Rate: 1 << 20}, func(_ *http.Response, body, truth []byte, err error) bool {
			return err == nil && string(body) == string(truth)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := New(t, Options{})
			r.PushImage(t, "repo:tag", ImageOptions{})
			c := newClient(r)
			path, _ := c.firstLayer(t, "repo", "tag")
			_, truth, err := c.get(t, path)
			if err != nil {
				t.Fatal(err)
			}
			r.Misbehave(Rule{Method: http.MethodGet, Path: "/blobs/", Skip: 1, Times: 1, Fault: test.fault})
			if _, body, err := c.get(t, path); err != nil || string(body) != string(truth) {
				t.Errorf("the skipped request was harmed: %v", err)
			}
			if res, body, err := c.get(t, path); !test.check(res, body, truth, err) {
				t.Errorf("got %v, %d bytes, %v", res, len(body), err)
			}
			if _, body, err := c.get(t, path); err != nil || string(body) != string(truth) {
				t.Errorf("the request after Times was harmed: %v", err)
			}
		})
	}
}

func TestStallEndsWithTheRegistry(t *testing.T) {
	t.Parallel()
	r := New(t, Options{})
	r.PushImage(t, "repo:tag", ImageOptions{})
	c := newClient(r)
	path, _ := c.firstLayer(t, "repo", "tag")
	r.Misbehave(Rule{Path: "/blobs/", Fault: Fault{Stall: make(chan struct{}), After: 100}})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.ReadFull(res.Body, make([]byte, 100)); err != nil {
		t.Fatalf("what comes before the stall: %v", err)
	}
	r.Close()
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("a stalled answer ended well")
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	const rate, size = 4 << 20, 1 << 20
	r := New(t, Options{Rate: rate})
	r.PushImage(t, "repo:tag", ImageOptions{Layers: 1, LayerSize: size})
	c := newClient(r)
	path, _ := c.firstLayer(t, "repo", "tag")
	began := time.Now()
	if _, _, err := c.get(t, path); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("1 MiB at 4 MiB/s took %s", took)
	}
}

func TestDebian(t *testing.T) {
	t.Parallel()
	r := Debian(t, DebianOptions{TLS: true, Username: "user", Password: "secret"})
	r.PushImage(t, "repo:tag", ImageOptions{})
	c := &client{Client: &http.Client{Transport: r.transport}, base: "https://" + r.Host()}
	if got := c.status(t, "/v2/repo/tags/list"); got != http.StatusUnauthorized {
		t.Errorf("without a password: %d", got)
	}
	c.username, c.password = "user", "secret"
	if _, body, err := c.get(t, "/v2/repo/tags/list"); err != nil || !strings.Contains(string(body), `"tag"`) {
		t.Errorf("with the password: %s, %v; log: %s", body, err, r.Log())
	}
	if r.CertDir() == "" {
		t.Error("no CertDir under TLS")
	}
}
