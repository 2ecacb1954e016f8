package engine_test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/progress"
	"github.com/imaged-project/imaged/tests/registrytest"
)

func TestPullTellsWhatTheRegistrySays(t *testing.T) {
	t.Parallel()
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	for name, c := range map[string]struct {
		rule registrytest.Rule
		want string
		says string
	}{
		"401":                   {fault("/manifests/", registrytest.Fault{Status: 401, Code: "UNAUTHORIZED", Message: "who are you"}), "AuthenticationRequired", "who are you"},
		"403":                   {fault("/manifests/", registrytest.Fault{Status: 403, Code: "DENIED", Message: "not for you"}), "AccessDenied", "not for you"},
		"404":                   {fault("/manifests/", registrytest.Fault{Status: 404, Code: "MANIFEST_UNKNOWN", Message: "no such tag"}), "ReferenceNotFound", "no such tag"},
		"404 of the name":       {fault("/manifests/", registrytest.Fault{Status: 404, Code: "NAME_UNKNOWN", Message: "no such repository"}), "ReferenceNotFound", "no such repository"},
		"403 without a code":    {fault("/manifests/", registrytest.Fault{Status: 403, Message: "go away"}), "AccessDenied", "go away"},
		"404 without a code":    {fault("/manifests/", registrytest.Fault{Status: 404, Message: "nothing"}), "ReferenceNotFound", "nothing"},
		"500":                   {fault("/manifests/", registrytest.Fault{Status: 500}), "RegistryUnreachable", "500 Internal Server Error"},
		"503 of the ping":       {fault("/v2/", registrytest.Fault{Status: 503}), "RegistryUnreachable", "503 Service Unavailable"},
		"404 of a layer":        {fault("/blobs/", registrytest.Fault{Status: 404, Code: "BLOB_UNKNOWN", Message: "lost it"}), "ReferenceNotFound", "lost it"},
		"401 without a code":    {fault("/blobs/", registrytest.Fault{Status: 401, Message: "who now"}), "AuthenticationRequired", "who now"},
		"403 of a layer":        {fault("/blobs/", registrytest.Fault{Status: 403, Message: "scanned and refused"}), "AccessDenied", "scanned and refused"},
		"404 without BLOB_":     {fault("/blobs/", registrytest.Fault{Status: 404, Message: "no such layer"}), "ReferenceNotFound", "no such layer"},
		"500 of a layer":        {fault("/blobs/", registrytest.Fault{Status: 500}), "RegistryUnreachable", "500"},
		"no JSON":               {fault("/manifests/", registrytest.Fault{Body: []byte("<html>")}), "InvalidArchive", ""},
		"damaged layer":         {fault("/blobs/", registrytest.Fault{Corrupt: true, After: 3000}), "InvalidArchive", "Digest did not match"},
		"damaged configuration": {fault("/blobs/", registrytest.Fault{Corrupt: true, After: 3}), "InvalidArchive", "digest is not"},
		"truncated layer":       {fault("/blobs/", registrytest.Fault{Truncate: true, After: 3000}), "RegistryUnreachable", "EOF"},
		"reset layer":           {fault("/blobs/", registrytest.Fault{Reset: true, After: 3000}), "RegistryUnreachable", "reset"},
		"long layer":            {fault("/blobs/", registrytest.Fault{Body: make([]byte, 1<<20)}), "InvalidArchive", "longer than"},
		"stalled manifest":      {fault("/manifests/", registrytest.Fault{Stall: stall}), "RegistryUnreachable", "no byte came for 300ms"},
		"stalled layer":         {fault("/blobs/", registrytest.Fault{Stall: stall, After: 3000}), "RegistryUnreachable", "no byte came for 300ms"},
		"huge manifest":         {fault("/manifests/", registrytest.Fault{Body: make([]byte, 5<<20)}), "LimitExceeded", engine.LimitManifestBytes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := registrytest.New(t, registrytest.Options{})
			reg.PushImage(t, "app:1", registrytest.ImageOptions{})
			reg.Misbehave(c.rule)
			p := openPuller(t)
			o := quick()
			o.Retries, o.StallTimeout = new(0), new(300*time.Millisecond)
			if !strings.HasPrefix(name, "stalled") {
				o.StallTimeout = nil
			}
			_, err := p.pull(t, reg.Ref("app:1"), o)
			if errdefs.Name(err) != c.want || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v\nwant %s with %q", err, c.want, c.says)
			}
			p.wantNothing(t)
		})
	}
}

// fault is a rule for the body of all layers or manifests: what does not reach After passes unharmed.
func fault(path string, f registrytest.Fault) registrytest.Rule {
	return registrytest.Rule{Method: "GET", Path: path, Fault: f}
}

func TestPullFromNobody(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	for reference, says := range map[string]string{
		"127.0.0.1:1/app:1":         "connection refused",
		"registry.invalid/app:1":    "lookup registry.invalid",
		"registry.invalid:99/app:1": "lookup registry.invalid",
	} {
		o := quick()
		o.Retries = new(1)
		_, err := p.pull(t, reference, o)
		e, ok := errors.AsType[*errdefs.RegistryUnreachable](err)
		if !ok || !strings.Contains(e.Reason, says) || len(e.Attempts) == 0 || e.Registry != strings.TrimSuffix(reference, "/app:1") {
			t.Errorf("%s: %#v", reference, err)
		}
	}
}

func TestPullTLS(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{TLS: true})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{})
	p := openPuller(t)
	o := engine.PullOptions{RetryDelay: new(time.Millisecond)}
	_, err := p.pull(t, reg.Ref("app:1"), o)
	e, ok := errors.AsType[*errdefs.RegistryUnreachable](err)
	if !ok || !strings.Contains(e.Reason, "certificate") || len(e.Attempts) != 1 {
		t.Errorf("unknown authority: %#v", err)
	}
	plain := registrytest.New(t, registrytest.Options{})
	plain.PushImage(t, "app:1", registrytest.ImageOptions{})
	_, err = p.pull(t, plain.Ref("app:1"), o)
	if e, ok := errors.AsType[*errdefs.RegistryUnreachable](err); !ok || !strings.Contains(e.Reason, "HTTP response to HTTPS client") || len(e.Attempts) != 1 {
		t.Errorf("plain HTTP, verified: %#v", err)
	}
	_, err = p.pull(t, garbled(t)+"/app:1", o)
	if e, ok := errors.AsType[*errdefs.RegistryUnreachable](err); !ok || !strings.Contains(err.Error(), "--tls-verify=false") || len(e.Attempts) != 1 {
		t.Errorf("neither TLS nor HTTP: %#v", err)
	}
	p.mustPull(t, reg.Ref("app:1"), quick())
}

// garbled is the address of a server that answers whatever comes with a text.
func garbled(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			_, _ = c.Read(make([]byte, 1<<16))
			_, _ = c.Write([]byte("<html>bad request</html>"))
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func TestPullCredentials(t *testing.T) {
	t.Parallel()
	for name, auth := range map[string]registrytest.Auth{"basic": registrytest.AuthBasic, "bearer": registrytest.AuthBearer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := registrytest.New(t, registrytest.Options{Auth: auth, Username: "anna", Password: "pw-geheim", IdentityToken: "it-geheim"})
			reg.PushImage(t, "app:1", registrytest.ImageOptions{})
			p := openPuller(t)
			for _, c := range []struct {
				credentials *engine.Credentials
				given       bool
			}{{nil, false}, {&engine.Credentials{Username: "anna", Password: "pw-falsch"}, true}} {
				o := quick()
				o.Credentials = c.credentials
				_, err := p.pull(t, reg.Ref("app:1"), o)
				e, ok := errors.AsType[*errdefs.AuthenticationRequired](err)
				if !ok || e.Given != c.given || e.Registry != reg.Host() || e.Reason == "" || strings.Contains(err.Error(), "pw-") {
					t.Errorf("%v: %#v", c.credentials, err)
				}
			}
			o := quick()
			o.Credentials = &engine.Credentials{Username: "anna", Password: "pw-geheim"}
			p.mustPull(t, reg.Ref("app:1"), o)
			if auth == registrytest.AuthBearer {
				o.Credentials = &engine.Credentials{IdentityToken: "it-geheim"}
				p.mustPull(t, reg.Ref("app:1"), o)
			}
			for _, j := range p.Jobs().List(0) {
				if strings.Contains(j.Subject, "geheim") {
					t.Errorf("job %+v tells a secret", j)
				}
			}
		})
	}
}

func TestPullRetries(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]registrytest.Rule{
		"503":       {Path: "/manifests/", Times: 2, Fault: registrytest.Fault{Status: 503}},
		"truncated": {Method: "GET", Path: "/blobs/", Times: 3, Fault: registrytest.Fault{Truncate: true, After: 3000}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := registrytest.New(t, registrytest.Options{})
			reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 1})
			reg.Misbehave(rule)
			p := openPuller(t)
			w, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			var done int64
			for u, err := range w.Updates(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if u.Progress != nil {
					if u.Progress.Done < done {
						t.Errorf("done went back from %d to %d", done, u.Progress.Done)
					}
					done = u.Progress.Done
				}
			}
			if _, err := w.Result(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPullGivesUpAfterItsRetries(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	reg.Misbehave(registrytest.Rule{Fault: registrytest.Fault{Status: 502}})
	p := openPuller(t)
	o := quick()
	o.Retries = new(4)
	_, err := p.pull(t, reg.Ref("app:1"), o)
	e, ok := errors.AsType[*errdefs.RegistryUnreachable](err)
	if !ok || len(e.Attempts) != 5 {
		t.Fatalf("%#v", err)
	}
	for _, a := range e.Attempts {
		if a.Endpoint != reg.Ref("app:1") || a.Error != "RegistryUnreachable" || !strings.Contains(a.Reason, "502") {
			t.Errorf("attempt %+v", a)
		}
	}
}

func TestPullHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path   string
		status int
	}{
		"manifest": {"/manifests/", http.StatusTooManyRequests}, "layer": {"/blobs/", http.StatusTooManyRequests},
		"manifest, 503": {"/manifests/", http.StatusServiceUnavailable}, "layer, 503": {"/blobs/", http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := registrytest.New(t, registrytest.Options{})
			reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 1})
			// Twice: the library's request, and the one that finds out what the registry asks for.
			reg.Misbehave(registrytest.Rule{Path: c.path, Times: 2, Fault: registrytest.Fault{Status: c.status, RetryAfter: "2"}})
			p := openPuller(t)
			w, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			waited := false
			for u, err := range w.Updates(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				waited = waited || u.Progress != nil && u.Progress.Phase == progress.Waiting
			}
			if _, err := w.Result(t.Context()); err != nil || !waited {
				t.Errorf("waited: %t, %v", waited, err)
			}
		})
	}
}

func TestPullTellsOfALimitThatIsTooLongToWaitFor(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	reg.Misbehave(registrytest.Rule{Path: "/manifests/", Fault: registrytest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "7200"}})
	p := openPuller(t)
	began := time.Now()
	_, err := p.pull(t, reg.Ref("app:1"), quick())
	e, ok := errors.AsType[*errdefs.RateLimited](err)
	if !ok || e.RetryAfter == nil || *e.RetryAfter != 7200 || e.Registry != reg.Host() {
		t.Errorf("%#v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestPullPolicyRejects(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{})
	var dirs string
	p := openPuller(t, func(o *engine.Options) {
		dirs = o.ConfigDir
		writeFile(t, filepath.Join(dirs, "policy.json"), `{"default":[{"type":"reject"}]}`)
	})
	_, err := p.pull(t, reg.Ref("app:1"), quick())
	if e, ok := errors.AsType[*errdefs.PolicyRejected](err); !ok || e.Reference != reg.Ref("app:1") || e.Reason == "" {
		t.Errorf("%#v", err)
	}
	if n := reg.Count("GET", "/blobs/"); n > 0 {
		t.Errorf("%d blobs of a rejected image were fetched", n)
	}
	p.wantNothing(t)
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestShortNames(t *testing.T) {
	t.Parallel()
	first, second := registrytest.New(t, registrytest.Options{}), registrytest.New(t, registrytest.Options{})
	second.PushImage(t, "app:latest", registrytest.ImageOptions{})
	for _, mode := range []string{"permissive", "enforcing"} {
		p := openPuller(t, func(o *engine.Options) {
			writeFile(t, filepath.Join(o.ConfigDir, "registries.conf"),
				"unqualified-search-registries = [\""+first.Host()+"\", \""+second.Host()+"\"]\nshort-name-mode = \""+mode+"\"\n")
		})
		r, err := p.pull(t, "app", quick())
		if mode == "permissive" && (err != nil || r.Names[0] != second.Ref("app:latest")) {
			t.Errorf("permissive: %+v, %v", r, err)
		}
		_, missing := p.pull(t, "nothing", quick())
		withCredentials := quick()
		withCredentials.Credentials = &engine.Credentials{Username: "u", Password: "p"}
		_, given := p.pull(t, "app", withCredentials)
		if e, ok := errors.AsType[*errdefs.AmbiguousName](given); !ok || len(e.Candidates) != 2 {
			t.Errorf("%s, with credentials: %v", mode, given)
		}
		if mode == "enforcing" {
			if e, ok := errors.AsType[*errdefs.AmbiguousName](err); !ok || len(e.Candidates) != 2 {
				t.Errorf("enforcing: %v", err)
			}
		} else if e, ok := errors.AsType[*errdefs.ReferenceNotFound](missing); !ok || len(e.Attempts) != 2 || e.Attempts[1].Endpoint != second.Ref("nothing:latest") {
			t.Errorf("permissive, nowhere: %#v", missing)
		}
	}
	for _, r := range append(first.Requests(), second.Requests()...) {
		if r.Authorization != "" {
			t.Errorf("%s %s got credentials", r.Method, r.Path)
		}
	}
}

func TestPullLimits(t *testing.T) {
	t.Parallel()
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 3})
	reg.PushImage(t, "app:2", registrytest.ImageOptions{Layers: 3})
	for limit, set := range map[string]engine.PullLimits{
		engine.LimitManifestBytes: {ManifestBytes: 100},
		engine.LimitConfigBytes:   {ConfigBytes: 100},
		engine.LimitLayers:        {Layers: 2},
		engine.LimitLayerBytes:    {LayerBytes: 1000},
		engine.LimitImageBytes:    {ImageBytes: 50_000},
		engine.LimitTags:          {Tags: 1},
	} {
		p := openPuller(t, func(o *engine.Options) { o.Pull = set })
		o, reference := quick(), reg.Ref("app:1")
		if limit == engine.LimitTags {
			o.AllTags, reference = true, reg.Ref("app")
		}
		_, err := p.pull(t, reference, o)
		if e, ok := errors.AsType[*errdefs.LimitExceeded](err); !ok || e.Limit != limit {
			t.Errorf("%s: %v", limit, err)
		}
		p.wantNothing(t)
	}
}

// TestPullWhoseLayersAreRemoved removes the image that a pull shares its lower layers with, while the pull waits for its own.
func TestPullWhoseLayersAreRemoved(t *testing.T) {
	t.Parallel()
	stall := make(chan struct{})
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "base:1", registrytest.ImageOptions{Layers: 2, Seed: 5})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 3, Seed: 5})
	p := openPuller(t)
	base := p.mustPull(t, reg.Ref("base:1"), quick()).IDs
	top := layersOf(t, reg, "app/manifests/1")[2]
	reg.Misbehave(registrytest.Rule{Method: "GET", Path: top, Times: 1, Fault: registrytest.Fault{Stall: stall, After: 1 << 10}})
	w, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for reg.Count("GET", top) == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := p.Remove(t.Context(), base, engine.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if layers, err := p.Store().Layers(); err != nil || len(layers) > 0 {
		t.Fatalf("%d layers are left, %v", len(layers), err)
	}
	close(stall)
	if _, err := w.Result(t.Context()); err != nil {
		t.Error(err)
	}
	checkStore(t, p)
}

// TestPullBesidePodman lets podman, another program, end while layers are unpacked: its version 4 removes them then, and makes
// the library begin anew with the store.
func TestPullBesidePodman(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("there is no podman")
	}
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{Layers: 3})
	p := openPuller(t)
	for _, layer := range layersOf(t, reg, "app/manifests/1") {
		stall := make(chan struct{})
		reg.Misbehave(registrytest.Rule{Method: "GET", Path: layer, Times: 1, Fault: registrytest.Fault{Stall: stall, After: 1 << 10}})
		w, err := p.Pull(t.Context(), reg.Ref("app:1"), quick())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		others := func() bool { // are unpacked, or in the store
			staged, err := filepath.Glob(filepath.Join(p.dirs.Root, "overlay", "staging", "*", "dir", "layer-*"))
			if err != nil {
				t.Fatal(err)
			}
			layers, err := p.Store().Layers()
			return err == nil && len(staged)+len(layers) >= 2
		}
		for reg.Count("GET", layer) == 0 || !others() {
			time.Sleep(time.Millisecond)
		}
		podman := exec.CommandContext(t.Context(), "podman", "--root", p.dirs.Root, "--runroot", p.dirs.RunRoot, "--storage-driver", enginetest.Driver, "images")
		if out, err := podman.CombinedOutput(); err != nil {
			t.Fatalf("podman: %v\n%s", err, out)
		}
		if err := os.RemoveAll(filepath.Join(p.dirs.Root, "overlay", "staging")); err != nil { // whatever its version
			t.Fatal(err)
		}
		close(stall)
		value, err := w.Result(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Remove(t.Context(), value.(engine.PullResult).IDs, engine.RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
		reg.ForgetRequests()
	}
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		if file, err := os.Readlink(fd); err == nil && strings.Contains(file, "staging.lock") && strings.Contains(file, "deleted") {
			t.Errorf("%s is still open", file)
		}
	}
	checkStore(t, p)
}
