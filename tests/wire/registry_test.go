package wire_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

const credentials = `"credentials":{"username":"anna","password":"geheim"}`

// away is the address of a registry by another name of this host: Go's client takes another port for the same host.
func away(r *registrytest.Registry) string {
	return strings.Replace(r.URL(), "127.0.0.1", "localhost", 1)
}

// wantNoCredentials makes sure that a registry was asked, and by nobody with a secret.
func wantNoCredentials(t testing.TB, r *registrytest.Registry, asked bool) {
	t.Helper()
	all := r.Requests()
	if asked && len(all) == 0 {
		t.Error("the other host was not asked")
	}
	for _, request := range all {
		// Basic authentication without a user and a password is none.
		if a := request.Authorization; a != "" && a != "Basic Og==" {
			t.Errorf("%s %s came with credentials", request.Method, request.Path)
		}
	}
}

func TestRedirectsGetNoCredentials(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"/manifests/", "/blobs/"} {
		for name, auth := range map[string]registrytest.Auth{"basic": registrytest.AuthBasic, "bearer": registrytest.AuthBearer} {
			t.Run(what+name, func(t *testing.T) {
				t.Parallel()
				r := registrytest.New(t, registrytest.Options{Auth: auth, Username: "anna", Password: "geheim"})
				other := registrytest.New(t, registrytest.Options{})
				r.PushImage(t, "sample:1", registrytest.ImageOptions{})
				other.PushImage(t, "sample:1", registrytest.ImageOptions{})
				r.Misbehave(registrytest.Rule{Path: what, Fault: registrytest.Fault{Redirect: away(other) + "/"}})
				d := daemon.Start(t, daemon.Options{})
				reply := d.Call(t, "io.imaged.transfers.Pull", pull(r.Ref("sample:1"), credentials))
				if reply.Error != "" {
					t.Errorf("%s", reply.Raw)
				}
				wantNoCredentials(t, other, true)
			})
		}
	}
}

// TestRealmElsewhere has challenges that send the client to a token server on another host, or in the clear.
func TestRealmElsewhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tls, elsewhere, verify bool
		credentials            string
	}{
		"in the clear, from TLS":            {tls: true, verify: true, credentials: credentials},
		"elsewhere in the clear, from TLS":  {tls: true, elsewhere: true, verify: true, credentials: credentials},
		"identity token in the clear":       {tls: true, verify: true, credentials: `"credentials":{"identityToken":"geheim"}`},
		"elsewhere, nothing verified":       {elsewhere: true, credentials: credentials},
		"identity token, nothing verified":  {elsewhere: true, credentials: `"credentials":{"identityToken":"geheim"}`},
		"elsewhere, from TLS, not verified": {tls: true, elsewhere: true, credentials: credentials},
		"the authfile's, in the clear":      {tls: true, verify: true, elsewhere: true, credentials: `"credentials":null`},
		"the authfile's, not verified":      {elsewhere: true, credentials: `"credentials":null`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leaked := make(chan string, 100)
			realm := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				_, password, _ := req.BasicAuth()
				if token := req.FormValue("refresh_token"); password != "" || token != "" {
					leaked <- req.Method + " " + req.URL.String()
				}
				w.WriteHeader(http.StatusUnauthorized)
			}))
			t.Cleanup(realm.Close)
			address := realm.URL
			if c.elsewhere {
				address = strings.Replace(address, "127.0.0.1", "localhost", 1)
			}
			r := registrytest.New(t, registrytest.Options{TLS: c.tls, Auth: registrytest.AuthBearer, Realm: address + "/token", Username: "anna", Password: "geheim"})
			r.PushImage(t, "sample:1", registrytest.ImageOptions{})
			o := daemon.Options{Files: map[string]string{"containers/auth.json": fmt.Sprintf(`{"auths":{%q:{"auth":"YW5uYTpnZWhlaW0="}}}`, r.Host())}}
			if c.tls {
				o.Env = []string{"SSL_CERT_FILE=" + filepath.Join(r.CertDir(), "ca.crt")}
			}
			d := daemon.Start(t, o)
			d.Write(t, "rootfs.tar", rootfs(t))
			d.Call(t, "io.imaged.transfers.Import", fmt.Sprintf(`{"path":"%s/rootfs.tar","name":"localhost/sample:1"}`, d.Dir))
			for method, in := range map[string]string{
				"Pull":   fmt.Sprintf(`{"reference":%q`, r.Ref("sample:1")),
				"Push":   fmt.Sprintf(`{"name":"localhost/sample:1","destination":%q`, r.Ref("sample:1")),
				"Search": fmt.Sprintf(`{"term":%q,"listTags":true`, r.Host()+"/sample"),
				"Copy":   fmt.Sprintf(`{"source":%q,"destination":"dir:%s/copied","sourceTlsVerify":%t,"sourceC%s}`, "docker://"+r.Ref("sample:1"), d.Dir, c.verify, c.credentials[2:]),
			} {
				if method != "Copy" {
					in += fmt.Sprintf(`,"tlsVerify":%t,%s}`, c.verify, c.credentials)
				}
				reply := d.Call(t, "io.imaged.transfers."+method, in)
				if reply.Error == "" || strings.HasPrefix(reply.Error, "org.varlink") {
					t.Errorf("%s: %s", method, reply.Raw)
				}
				checkError(t, contracts["io.imaged.transfers"], reply)
				t.Logf("%s: %s", method, reply.Raw)
			}
			select {
			case request := <-leaked:
				t.Errorf("the secret went to %s", request)
			default:
			}
		})
	}
}

func TestMirrorGetsNoCredentials(t *testing.T) {
	t.Parallel()
	r := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "anna", Password: "geheim"})
	mirror := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "anna", Password: "geheim"})
	r.PushImage(t, "sample:1", registrytest.ImageOptions{})
	d := daemon.Start(t, daemon.Options{Files: map[string]string{"registries.conf": fmt.Sprintf(
		"[[registry]]\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", r.Host(), mirror.Host(),
	)}})
	if reply := d.Call(t, "io.imaged.transfers.Pull", pull(r.Ref("sample:1"), credentials)); reply.Error != "" {
		t.Errorf("%s", reply.Raw)
	}
	wantNoCredentials(t, mirror, true)
}

// manifest is one that a registry would not make.
type manifest map[string]any

func descriptor(mediaType, digest string, size int) manifest {
	return manifest{"mediaType": mediaType, "digest": digest, "size": size}
}

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// parts are what a good image with one layer consists of.
type parts struct {
	registry *registrytest.Registry
	config   map[string]any
	layer    []byte
	manifest manifest
}

func goodParts(t testing.TB, r *registrytest.Registry) *parts {
	t.Helper()
	plain := []byte(rootfs(t))
	p := &parts{registry: r, layer: compressed(t, plain)}
	p.config = map[string]any{
		"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(plain)}},
	}
	r.PushBlob(t, "bad", p.layer)
	p.manifest = manifest{
		"schemaVersion": 2, "mediaType": ociManifest, "layers": []manifest{descriptor(ociLayer, digest(p.layer), len(p.layer))},
	}
	p.configure(t, encode(t, p.config))
	return p
}

// configure puts a configuration in place, as it is.
func (p *parts) configure(t testing.TB, text []byte) {
	t.Helper()
	p.registry.PushBlob(t, "bad", text)
	p.manifest["config"] = descriptor(ociConfig, digest(text), len(text))
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func compressed(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHostileManifests serves each of them by tag, through a fault, so that no registry's own checks are in the way.
func TestHostileManifests(t *testing.T) {
	t.Parallel()
	const refused = "io.imaged.transfers.InvalidArchive"
	const limit = "io.imaged.transfers.LimitExceeded"
	layerWith := func(field string, value any) func(testing.TB, *parts) {
		return func(_ testing.TB, p *parts) { p.manifest["layers"].([]manifest)[0][field] = value }
	}
	for name, c := range map[string]struct {
		change    func(t testing.TB, p *parts)
		mediaType string // of the answer
		want      string
	}{
		"good": {func(testing.TB, *parts) {}, ociManifest, ""},
		"layers and manifests": {func(_ testing.TB, p *parts) {
			p.manifest["manifests"] = []manifest{descriptor(ociManifest, digest(nil), 1)}
		}, ociManifest, refused},
		"layers and fsLayers":       {func(_ testing.TB, p *parts) { p.manifest["fsLayers"] = []manifest{{"blobSum": digest(nil)}} }, ociManifest, refused},
		"layers, called an index":   {func(testing.TB, *parts) {}, ociIndex, refused},
		"another type in the body":  {func(_ testing.TB, p *parts) { p.manifest["mediaType"] = ociIndex }, ociManifest, refused},
		"no type that exists":       {func(_ testing.TB, p *parts) { p.manifest["mediaType"] = "text/html" }, "text/html", refused},
		"schema 7":                  {func(_ testing.TB, p *parts) { p.manifest["schemaVersion"] = 7 }, ociManifest, refused},
		"digest up the tree":        {layerWith("digest", "../../../../etc/passwd"), ociManifest, refused},
		"digest with a path":        {layerWith("digest", "sha256:../../../../etc/passwd"), ociManifest, refused},
		"digest too short":          {layerWith("digest", "sha256:abcd"), ociManifest, refused},
		"digest in capitals":        {layerWith("digest", "sha256:"+strings.Repeat("A", 64)), ociManifest, refused},
		"digest without a hash":     {layerWith("digest", ":"), ociManifest, refused},
		"digest of an unknown hash": {layerWith("digest", "md5:"+strings.Repeat("a", 32)), ociManifest, refused},
		"empty digest":              {layerWith("digest", ""), ociManifest, refused},
		"negative size":             {layerWith("size", -5), ociManifest, refused},
		"size beyond 2^62":          {layerWith("size", int64(1)<<62), ociManifest, limit},
		"size too small":            {layerWith("size", 3), ociManifest, refused},
		"size too big":              {layerWith("size", 100_000), ociManifest, "io.imaged.transfers.RegistryUnreachable"},
		"no configuration":          {func(_ testing.TB, p *parts) { delete(p.manifest, "config") }, ociManifest, refused},
		"configuration is a layer":  {func(_ testing.TB, p *parts) { p.manifest["config"] = p.manifest["layers"].([]manifest)[0] }, ociManifest, refused},
		"configuration is an array": {func(t testing.TB, p *parts) { p.configure(t, []byte("[]")) }, ociManifest, refused},
		"configuration is null":     {func(t testing.TB, p *parts) { p.configure(t, []byte("null")) }, ociManifest, refused},
		"deep configuration": {func(t testing.TB, p *parts) {
			p.configure(t, []byte(strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)))
		}, ociManifest, refused},
		"huge configuration": {func(t testing.TB, p *parts) {
			p.config["author"] = strings.Repeat("x", 5<<20)
			p.configure(t, encode(t, p.config))
		}, ociManifest, limit},
		"wrong DiffID": {func(t testing.TB, p *parts) {
			p.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": []string{digest([]byte("x"))}}
			p.configure(t, encode(t, p.config))
		}, ociManifest, refused},
		"DiffID with a path": {func(t testing.TB, p *parts) {
			p.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": []string{"sha256:../../x"}}
			p.configure(t, encode(t, p.config))
		}, ociManifest, refused},
		"more DiffIDs than layers": {func(t testing.TB, p *parts) {
			p.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": []string{digest(nil), digest(nil)}}
			p.configure(t, encode(t, p.config))
		}, ociManifest, refused},
		"another platform": {func(t testing.TB, p *parts) { p.config["architecture"] = "s390x"; p.configure(t, encode(t, p.config)) }, ociManifest, "?"},
		"600 layers":       {func(_ testing.TB, p *parts) { p.manifest["layers"] = repeat(p.manifest["layers"].([]manifest)[0], 600) }, ociManifest, limit},
		"40,000 layers":    {func(_ testing.TB, p *parts) { p.manifest["layers"] = repeat(manifest{"digest": digest(nil)}, 40_000) }, ociManifest, limit},
		"deep manifest": {func(_ testing.TB, p *parts) {
			p.manifest["x"] = json.RawMessage(strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000))
		}, ociManifest, "?"},
		"manifest of 5 MiB": {func(_ testing.TB, p *parts) { p.manifest["x"] = strings.Repeat("x", 5<<20) }, ociManifest, limit},
		"index without instances": {func(_ testing.TB, p *parts) {
			p.manifest = manifest{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []manifest{}}
		}, ociIndex, "?"},
		"index of a million": {func(_ testing.TB, p *parts) {
			p.manifest = manifest{"schemaVersion": 2, "mediaType": ociIndex, "manifests": repeat(manifest{"digest": "x"}, 200_000)}
		}, ociIndex, "?"},
		"index of digests with paths": {func(_ testing.TB, p *parts) {
			p.manifest = manifest{"schemaVersion": 2, "mediaType": ociIndex, "manifests": []manifest{{"mediaType": ociManifest, "digest": "sha256:../../x", "size": 1, "platform": manifest{"os": "linux", "architecture": "amd64"}}}}
		}, ociIndex, refused},
		"null": {func(_ testing.TB, p *parts) { p.manifest = nil }, ociManifest, refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := registrytest.New(t, registrytest.Options{})
			p := goodParts(t, r)
			c.change(t, p)
			r.PushImage(t, "bad:1", registrytest.ImageOptions{})
			r.Misbehave(registrytest.Rule{Path: "/manifests/", Fault: registrytest.Fault{
				Status: http.StatusOK, Body: encode(t, p.manifest), Header: map[string]string{"Content-Type": c.mediaType, "Docker-Content-Digest": digest(encode(t, p.manifest))},
			}})
			d, byTag := pullOf(t, r.Ref("bad:1"), daemon.Options{})
			if byTag.Error != "" {
				checkError(t, contracts["io.imaged.transfers"], byTag)
				wantEmpty(t, d)
			}
			if byTag.Error != c.want && (c.want != "?" || strings.HasSuffix(byTag.Error, ".Failed")) {
				t.Errorf("%.1000s", byTag.Raw)
			}
			// By its digest the verdict is the same.
			byDigest := d.Call(t, "io.imaged.transfers.Pull", pull(r.Host()+"/bad@"+digest(encode(t, p.manifest)), `"retries":0`))
			if byDigest.Error != byTag.Error {
				t.Errorf("by digest: %.1000s", byDigest.Raw)
			}
		})
	}
}

func repeat(m manifest, n int) []manifest {
	all := make([]manifest, n)
	for i := range all {
		all[i] = m
	}
	return all
}

// TestHostileBodies are answers that do not end, or not as they said.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	junk := bytes.Repeat([]byte("x"), 512<<20)
	for name, c := range map[string]struct {
		path  string
		fault registrytest.Fault
		want  string
	}{
		"endless layer":            {"/blobs/", registrytest.Fault{Body: junk}, "InvalidArchive"},
		"short layer":              {"/blobs/", registrytest.Fault{Truncate: true, After: 10}, "RegistryUnreachable"},
		"reset layer":              {"/blobs/", registrytest.Fault{Reset: true, After: 10}, "RegistryUnreachable"},
		"stalled layer":            {"/blobs/", registrytest.Fault{Stall: held, After: 10}, "RegistryUnreachable"},
		"Content-Length too small": {"/blobs/", registrytest.Fault{ContentLength: 5}, "RegistryUnreachable"},
		"Content-Length too big":   {"/blobs/", registrytest.Fault{ContentLength: 1 << 40}, "RegistryUnreachable"},
		"flipped bit":              {"/blobs/", registrytest.Fault{Corrupt: true, After: 100}, "InvalidArchive"},
		"endless manifest":         {"/manifests/", registrytest.Fault{Body: junk}, "LimitExceeded"},
		"endless error":            {"/manifests/", registrytest.Fault{Status: 500, Body: junk}, "RegistryUnreachable"},
		"endless refusal":          {"/manifests/", registrytest.Fault{Status: 403, Body: junk}, "RegistryUnreachable"},
		"endless refusal, layer":   {"/blobs/", registrytest.Fault{Status: 403, Body: junk}, "RegistryUnreachable"},
		"endless error of a layer": {"/blobs/", registrytest.Fault{Status: 500, Body: junk}, "RegistryUnreachable"},
		"endless ping":             {"/v2/", registrytest.Fault{Status: 200, Body: junk}, "LimitExceeded"},
		"redirects in a circle":    {"/manifests/", registrytest.Fault{Redirect: "/"}, "RegistryUnreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := registrytest.New(t, registrytest.Options{})
			r.PushImage(t, "bad:1", registrytest.ImageOptions{})
			r.Misbehave(registrytest.Rule{Method: "GET", Path: c.path, Fault: c.fault})
			d := daemon.Start(t, daemon.Options{})
			before := d.Memory(t)
			stall := 30 // a busy machine may leave a registry without a byte for seconds
			if c.fault.Stall != nil {
				stall = 1
			}
			reply := d.Call(t, "io.imaged.transfers.Pull", pull(r.Ref("bad:1"), fmt.Sprintf(`"retries":0,"stallTimeoutSeconds":%d`, stall)))
			if reply.Error != "io.imaged.transfers."+c.want {
				t.Errorf("%.1000s", reply.Raw)
			}
			if len(reply.Raw) > 20_000 {
				t.Errorf("the reply has %d bytes", len(reply.Raw))
			}
			checkError(t, contracts["io.imaged.transfers"], reply)
			wantEmpty(t, d)
			if after := d.Memory(t); after > before+192<<20 {
				t.Errorf("the daemon has grown from %d to %d MiB", before>>20, after>>20)
			}
			r.Behave()
			if reply := d.Call(t, "io.imaged.transfers.Pull", pull(r.Ref("bad:1"))); reply.Error != "" {
				t.Errorf("when the registry behaves: %s", reply.Raw)
			}
		})
	}
}

func TestHostileTokens(t *testing.T) {
	t.Parallel()
	for name, body := range map[string][]byte{
		"endless":    bytes.Repeat([]byte("x"), 32<<20),
		"long token": []byte(`{"token":"` + strings.Repeat("x", 2<<20) + `"}`),
		"line ends":  []byte(`{"token":"a\r\nHost: evil\r\n\r\n"}`),
		"no token":   []byte(`{}`),
		"no JSON":    []byte(`<html>`),
		"a number":   []byte(`{"token":1}`),
		"long ago":   []byte(`{"token":"x","issued_at":"0001-01-01T00:00:00Z","expires_in":-5}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer})
			r.PushImage(t, "bad:1", registrytest.ImageOptions{})
			r.Misbehave(registrytest.Rule{Path: "/token", Fault: registrytest.Fault{Body: body}})
			_, reply := pullOf(t, r.Ref("bad:1"), daemon.Options{})
			if reply.Error == "" || strings.HasSuffix(reply.Error, ".Failed") {
				t.Errorf("%.1000s", reply.Raw)
			}
			checkError(t, contracts["io.imaged.transfers"], reply)
		})
	}
}

// TestTokenExpires ends every token between two layers: a new one is fetched.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	r := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, Username: "anna", Password: "geheim"})
	r.PushImage(t, "sample:1", registrytest.ImageOptions{Layers: 8})
	r.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Skip: 2, Times: 3, Fault: registrytest.Fault{Stall: hold}})
	d := daemon.Start(t, daemon.Options{})
	c := d.Dial(t)
	startJob(t, c, pull(r.Ref("sample:1"), credentials))
	daemon.Await(t, "layers are fetched", func() bool { return r.Count("GET", "/blobs/") > 3 })
	r.ExpireTokens()
	close(hold)
	if last := lastReply(t, c); last.Error != "" {
		t.Errorf("%s", last.Raw)
	}
}

func TestHostileTLS(t *testing.T) {
	t.Parallel()
	trusted := registrytest.New(t, registrytest.Options{TLS: true})
	other := registrytest.New(t, registrytest.Options{TLS: true})
	plain := registrytest.New(t, registrytest.Options{})
	expired := registrytest.New(t, registrytest.Options{TLS: true, Certificate: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }})
	misnamed := registrytest.New(t, registrytest.Options{TLS: true, Certificate: func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"registry.test"}, nil
	}})
	var authorities []byte
	for _, r := range []*registrytest.Registry{trusted, other, plain, expired, misnamed} {
		r.PushImage(t, "sample:1", registrytest.ImageOptions{})
		if r != other && r != plain {
			text, err := os.ReadFile(filepath.Join(r.CertDir(), "ca.crt"))
			if err != nil {
				t.Fatal(err)
			}
			authorities = append(authorities, text...)
		}
	}
	home := daemon.Home(t)
	d := daemon.Start(t, daemon.Options{
		Dir:   home,
		Env:   []string{"SSL_CERT_FILE=" + filepath.Join(home, "ca.crt")},
		Files: map[string]string{"ca.crt": string(authorities)},
	})
	for name, c := range map[string]struct{ reference, says string }{
		"unknown authority": {other.Ref("sample:1"), "certificate signed by unknown authority"},
		"in the clear":      {plain.Ref("sample:1"), "HTTP response to HTTPS client"},
		"expired":           {expired.Ref("sample:1"), "certificate has expired"},
		"of another host":   {misnamed.Ref("sample:1"), "x509: cannot validate certificate for 127.0.0.1"},
	} {
		began := time.Now()
		r := d.Call(t, "io.imaged.transfers.Pull", fmt.Sprintf(`{"reference":%q}`, c.reference))
		if r.Error != "io.imaged.transfers.RegistryUnreachable" || !strings.Contains(r.Text("reason"), c.says) {
			t.Errorf("%s: %s", name, r.Raw)
		}
		// What will not pass by itself is not tried again.
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
	}
	if r := d.Call(t, "io.imaged.transfers.Pull", fmt.Sprintf(`{"reference":%q}`, trusted.Ref("sample:1"))); r.Error != "" {
		t.Errorf("trusted: %s", r.Raw)
	}
}
