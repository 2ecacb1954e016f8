// Package registrytest runs real OCI registries for tests: HTTP or HTTPS on
// loopback, with or without authentication, filled with images made of real tar
// layers, and able to misbehave on request.
//
// [New] and [Start] run go-containerregistry's registry inside the test's own
// process; [Debian] runs Debian's docker-registry as a process of its own.
//
// It may be imported by tests and by tests/demo only. It imports no package of
// imaged, so that it can judge every one of them.
package registrytest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Auth says how a registry wants its clients to authenticate.
type Auth int

const (
	// AuthNone lets everybody in.
	AuthNone Auth = iota
	// AuthBasic asks for Username and Password with every request.
	AuthBasic
	// AuthBearer sends clients to a token server, which is part of the
	// registry, and takes only tokens from there.
	AuthBearer
)

// Options describe a registry. The zero value is one on plain HTTP that lets
// everybody in and behaves well.
type Options struct {
	// TLS serves HTTPS, with a certificate of a CA made for this registry.
	TLS bool
	// Certificate changes the server's certificate before it is signed, such as
	// its names and its end; nil: a good one for loopback.
	Certificate func(*x509.Certificate)
	// Auth is the way to authenticate; zero: none.
	Auth Auth
	// Username and Password are what AuthBasic and the token server accept.
	// An empty Username accepts anybody at the token server, as public
	// registries do.
	Username, Password string
	// IdentityToken is accepted by the token server in place of a password;
	// empty: none is.
	IdentityToken string
	// TokenLife is how long a bearer token is good for; zero: five minutes.
	TokenLife time.Duration
	// Realm replaces the address of the token server in challenges; empty: the
	// registry's own.
	Realm string
	// Rate limits all response bodies together, in bytes a second; zero: no
	// limit.
	Rate int64
}

// Registry is a running registry. All methods are safe for concurrent use.
type Registry struct {
	target
	opts    Options
	server  *httptest.Server
	certDir string
	pace    *pacer
	tokens  tokens
	faults  faults
	records records

	closing   chan struct{}
	closeOnce sync.Once
}

// New starts a registry that ends with the test.
func New(t testing.TB, opts Options) *Registry {
	t.Helper()
	r, err := start(opts, t.TempDir())
	if err != nil {
		t.Fatalf("registrytest: %v", err)
	}
	t.Cleanup(r.Close)
	return r
}

// Start starts a registry outside a test; the caller closes it. It serves no
// TLS, for which only [New] has a place to keep certificates.
func Start(opts Options) (*Registry, error) {
	if opts.TLS {
		return nil, errors.New("start registry: TLS needs registrytest.New")
	}
	return start(opts, "")
}

// start brings up the registry and leaves its CA in dir when it has one.
func start(opts Options, dir string) (*Registry, error) {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r := &Registry{
		opts:    opts,
		certDir: dir,
		pace:    newPacer(opts.Rate),
		closing: make(chan struct{}),
	}
	r.server = httptest.NewUnstartedServer(r.handler(inner))
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if err := r.serve(); err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	r.target = target{
		host:      r.server.Listener.Addr().String(),
		base:      r.server.URL,
		transport: handlerTransport{inner},
	}
	return r, nil
}

// serve starts the HTTP server, with a certificate of its own under TLS.
func (r *Registry) serve() error {
	if !r.opts.TLS {
		r.server.Start()
		return nil
	}
	cert, err := writeCertificates(r.certDir, r.opts.Certificate)
	if err != nil {
		return err
	}
	r.server.TLS = serverTLS(cert)
	r.server.StartTLS()
	return nil
}

// Close ends the registry and every request it is still serving, stalled ones
// included. It may be called several times.
func (r *Registry) Close() {
	r.closeOnce.Do(func() {
		close(r.closing)
		r.server.CloseClientConnections()
		r.server.Close()
	})
}

// URL returns the registry's base address, such as http://127.0.0.1:41234.
func (r *Registry) URL() string { return r.server.URL }

// CertDir returns a directory holding ca.crt, in the layout of a directory
// under /etc/containers/certs.d. A Go program also accepts that CA when
// SSL_CERT_FILE names CertDir()+"/ca.crt". Empty without TLS.
func (r *Registry) CertDir() string {
	if !r.opts.TLS {
		return ""
	}
	return r.certDir
}

// handler puts records, authentication, faults and the rate around a registry.
func (r *Registry) handler(inner http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/token", r.misbehave(http.HandlerFunc(r.serveToken)))
	mux.Handle("/", r.authenticate(r.misbehave(inner)))
	return r.record(mux)
}

// handlerTransport sends requests straight into a handler: what a test puts
// into its registry is neither recorded, nor slowed, nor spoilt.
type handlerTransport struct{ handler http.Handler }

// RoundTrip implements [http.RoundTripper].
func (t handlerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if req.Body == nil {
		req.Body = http.NoBody
	}
	t.handler.ServeHTTP(w, req)
	if err := req.Body.Close(); err != nil {
		return nil, fmt.Errorf("close request body: %w", err)
	}
	res := w.Result()
	res.Request = req
	return res, nil
}
