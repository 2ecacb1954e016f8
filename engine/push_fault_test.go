package engine_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/tests/registrytest"
)

func TestPushAuthentication(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthBearer} {
		t.Run(fmt.Sprint(auth), func(t *testing.T) {
			t.Parallel()
			reg := registrytest.New(t, registrytest.Options{Auth: auth, Username: "me", Password: "secret"})
			o := plain(reg.Ref("a:1"))
			_, err := p.push(t, "saved:1", o)
			wantFailure(t, "push without credentials", err, "AuthenticationRequired")
			o.Credentials = &engine.Credentials{Username: "me", Password: "wrong"}
			_, err = p.push(t, "saved:1", o)
			if refused, ok := errors.AsType[*errdefs.AuthenticationRequired](err); !ok || !refused.Given || refused.Registry != reg.Host() {
				t.Errorf("push with wrong credentials: %v", err)
			}
			o.Credentials.Password = "secret"
			p.mustPush(t, "saved:1", o)
			for _, job := range p.Jobs().List(0) {
				if text := fmt.Sprintf("%+v %v", job, job.Err); strings.Contains(text, "secret") || strings.Contains(text, "wrong") {
					t.Errorf("a job tells the password: %s", text)
				}
			}
		})
	}
}

func TestPushTellsWhatTheRegistrySays(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	const uploads, manifests = "/blobs/uploads/", "/manifests/"
	for name, test := range map[string]struct {
		method, path string
		fault        registrytest.Fault
		want         string
	}{
		"denied":     {http.MethodPost, uploads, registrytest.Fault{Status: 403, Code: "DENIED"}, "AccessDenied"},
		"no more":    {http.MethodPost, uploads, registrytest.Fault{Status: 401, Code: "UNAUTHORIZED"}, "AuthenticationRequired"},
		"broken":     {http.MethodPost, uploads, registrytest.Fault{Status: 500}, "RegistryUnreachable"},
		"no words":   {http.MethodPost, uploads, registrytest.Fault{Status: 502, Body: []byte("<html>")}, "RegistryUnreachable"},
		"upload":     {http.MethodPatch, uploads, registrytest.Fault{Status: 500}, "RegistryUnreachable"},
		"reset":      {http.MethodPatch, uploads, registrytest.Fault{Reset: true}, "RegistryUnreachable"},
		"end":        {http.MethodPut, uploads, registrytest.Fault{Status: 500}, "RegistryUnreachable"},
		"manifest":   {http.MethodPut, manifests, registrytest.Fault{Status: 500}, "RegistryUnreachable"},
		"forbidden":  {http.MethodPut, manifests, registrytest.Fault{Status: 403, Code: "DENIED"}, "AccessDenied"},
		"limited":    {http.MethodPut, manifests, registrytest.Fault{Status: 429, Code: "TOOMANYREQUESTS"}, "RateLimited"},
		"no address": {http.MethodPost, uploads, registrytest.Fault{Header: map[string]string{"Location": ":"}}, "RegistryUnreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := registrytest.New(t, registrytest.Options{})
			reg.Misbehave(registrytest.Rule{Method: test.method, Path: test.path, Fault: test.fault})
			o := plain(reg.Ref("a:1"))
			o.Retries = new(1)
			_, err := p.push(t, "saved:1", o)
			wantFailure(t, "push", err, test.want)
			if failed, ok := errors.AsType[*errdefs.RegistryUnreachable](err); ok && (len(failed.Attempts) != 2 || failed.Registry != reg.Host()) {
				t.Errorf("%+v", failed)
			}
			reg.Behave()
			p.mustPush(t, "saved:1", o)
		})
	}
	o := plain("127.0.0.1:1" + "/a:1")
	_, err := p.push(t, "saved:1", o)
	wantFailure(t, "push to nobody", err, "RegistryUnreachable")
}

func TestPushRetries(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	reg := registrytest.New(t, registrytest.Options{})
	reg.Misbehave(
		registrytest.Rule{Method: http.MethodPatch, Times: 2, Fault: registrytest.Fault{Reset: true}},
		registrytest.Rule{Method: http.MethodPut, Path: "/manifests/", Times: 1, Fault: registrytest.Fault{Status: 503}},
	)
	sum := p.mustPush(t, "saved:1", plain(reg.Ref("a:1")))
	if m := manifestAt(t, reg, "a:1"); m.digest != sum {
		t.Errorf("the registry has %s", m.digest)
	}
}

func TestPushToARegistryThatStalls(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	reg := registrytest.New(t, registrytest.Options{})
	reg.Misbehave(registrytest.Rule{Method: http.MethodHead, Path: "/blobs/", Fault: registrytest.Fault{Stall: make(chan struct{})}})
	o := plain(reg.Ref("a:1"))
	o.Retries, o.StallTimeout = new(0), new(200*time.Millisecond)
	_, err := p.push(t, "saved:1", o)
	wantFailure(t, "push to a registry that stalls", err, "RegistryUnreachable")
	p.idle(t)
}

func TestCancelledPushLeavesNothing(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	ids, _ := putSaved(t, p)
	stall := make(chan struct{})
	defer close(stall)
	reg := registrytest.New(t, registrytest.Options{})
	reg.Misbehave(registrytest.Rule{Path: "/blobs/sha256:" + ids[0], Fault: registrytest.Fault{Stall: stall}}) // its configuration comes last
	w, err := p.Push(t.Context(), "saved:1", plain(reg.Ref("a:1")))
	if err != nil {
		t.Fatal(err)
	}
	untilTransferring(t, w)
	start := time.Now()
	if err := p.Jobs().Cancel(w.Job(), 0); err != nil {
		t.Fatal(err)
	}
	_, err = w.Result(t.Context())
	wantFailure(t, "cancelled push", err, "Cancelled")
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("the result came after %s", took)
	}
	w.Close()
	p.idle(t)
	if left, err := os.ReadDir(filepath.Join(p.dirs.Tmp, temporary(t, p))); err != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
	if _, err := p.Remove(t.Context(), ids, engine.RemoveOptions{Force: true}); err != nil {
		t.Errorf("remove after the cancelled push: %v", err)
	}
}

func TestPushSendsCredentialsToOneRegistryOnly(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthBearer} {
		for _, method := range []string{http.MethodPost, http.MethodPatch} {
			t.Run(fmt.Sprint(auth, method), func(t *testing.T) {
				t.Parallel()
				other := registrytest.New(t, registrytest.Options{})
				reg := registrytest.New(t, registrytest.Options{Auth: auth, Username: "me", Password: "secret"})
				reg.Misbehave(registrytest.Rule{Method: method, Path: "/blobs/uploads/", Fault: registrytest.Fault{
					Header: map[string]string{"Location": other.URL() + "/v2/a/blobs/uploads/1"},
				}})
				o := plain(reg.Ref("a:1"))
				o.Credentials = &engine.Credentials{Username: "me", Password: "secret"}
				_, err := p.push(t, "saved:1", o)
				wantFailure(t, "push that is sent to another host", err, "AccessDenied")
				p.idle(t)
				if got := other.Requests(); len(got) > 0 {
					t.Errorf("the other host got %+v", got)
				}
			})
		}
	}
}

func TestPushRefusals(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	putSaved(t, p)
	for want, all := range map[string][]engine.PushOptions{
		"InvalidFormat": {
			{Format: "v3"}, {CompressionFormat: "lzma"}, {CompressionFormat: engine.Zstd, Format: engine.ManifestV2S2},
		},
		"InvalidParameter": {
			{SignBy: "me"},
			{CompressionLevel: new(10)},
			{CompressionFormat: engine.Zstd, CompressionLevel: new(0)},
			{Retries: new(101)},
			{Credentials: &engine.Credentials{Username: "me"}},
			{Destination: "dir:/x", AllowPath: true, All: true},
		},
		"InvalidReference": {
			{Destination: "UPPER"},
			{Destination: "a@sha256:" + strings.Repeat("0", 64)},
			{Destination: "tarball:/x"},
			{Destination: "http://a/b"},
			{Destination: "dir:x", AllowPath: true},
			{Destination: "dir:/x:y", AllowPath: true},
			{Destination: "oci:/x:a b", AllowPath: true},
			{Destination: "docker-archive:/x:Y", AllowPath: true},
			{Destination: "docker-archive:/x:y@sha256:" + strings.Repeat("0", 64), AllowPath: true},
		},
		"PermissionDenied": {{Destination: "docker-archive:/x"}},
	} {
		for _, o := range all {
			_, err := p.push(t, "saved:1", o)
			wantFailure(t, fmt.Sprintf("push with %+v", o), err, want)
		}
	}
	_, err := p.push(t, "missing", plain("localhost:1/a"))
	wantFailure(t, "push what is not there", err, "ImageNotFound")
}
