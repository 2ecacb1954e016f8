package engine

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/pkg/tlsclientconfig"
	"github.com/containers/image/v5/types"
	"github.com/docker/distribution/registry/api/errcode"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// The library answers 429 by sleeping and trying again up to four times, for up to four minutes, tells nobody, and
// its errors have neither Retry-After nor, where the registry's error code says nothing, the status. There is no way to
// look at its HTTP traffic. So where it seems to sleep, or where its error says too little, we ask the registry
// the same thing once ourselves, without credentials, only to learn the status and Retry-After.

// maxToken is how long a token server's answer may be, in bytes.
const maxToken = 1 << 20

// probeTimeout bounds such a question.
const probeTimeout = 20 * time.Second

// hostCertDirs are where the library looks for a registry's certificates, besides the paths in its context.
var hostCertDirs = []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}

// suspect asks the registry whether it limits us, and ends the attempt if it does.
func (a *attempt) suspect(ctx context.Context, blob string) {
	status, retryAfter := a.probe(ctx, blob)
	if status == http.StatusTooManyRequests {
		a.guard.end(&errdefs.RateLimited{Registry: a.origin.registry, RetryAfter: retryAfter, Err: docker.ErrTooManyRequests})
	}
}

// blobError is what a registry answered when it was asked for a blob.
type blobError struct {
	error
	blob string
}

func (e *blobError) Unwrap() error { return e.error }

// explain gives an error of the library the details that it lost.
func (a *attempt) explain(ctx context.Context, err error) error {
	coder, coded := errors.AsType[codedError](err)
	answer, _ := errors.AsType[docker.UnexpectedHTTPStatusError](err)
	limited, busy := errors.Is(err, docker.ErrTooManyRequests), answer.StatusCode == http.StatusServiceUnavailable
	if !limited && !busy && (!coded || coder.ErrorCode() != errcode.ErrorCodeUnknown) {
		return err
	}
	blob := ""
	if e, ok := errors.AsType[*blobError](err); ok {
		blob = e.blob
	}
	status, retryAfter := a.probe(ctx, blob)
	switch {
	case status == http.StatusTooManyRequests:
		return &errdefs.RateLimited{Registry: a.origin.registry, RetryAfter: retryAfter, Err: quiet{err}}
	case status == http.StatusServiceUnavailable && busy:
		typed := unreachable(err, a.origin)
		typed.RetryAfter = retryAfter
		return typed
	case status == http.StatusUnauthorized && a.admitted && a.origin.given: // it let the library in, and not us
	case status >= http.StatusBadRequest && !limited && !busy:
		return registryError(status, err, a.origin)
	}
	return err
}

// waiting adds to the error of a registry that limits us how long it wants us to wait.
func (a *attempt) waiting(ctx context.Context, err error) error {
	limited, ok := err.(*errdefs.RateLimited) //nolint:errorlint // it is the error itself that goes to the client
	if !ok || limited.RetryAfter != nil {
		return err
	}
	if status, retryAfter := a.probe(ctx, ""); status == http.StatusTooManyRequests {
		limited.RetryAfter = retryAfter
	}
	return limited
}

// probe asks the registry for the manifest or the blob, and returns the status and Retry-After in seconds, if any. It
// returns 0 if it learns nothing.
func (a *attempt) probe(ctx context.Context, blob string) (int, *int64) {
	named, err := reference.ParseNormalizedNamed(a.origin.reference)
	if err != nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(cmp.Or(a.guard.timeout, probeTimeout), probeTimeout))
	defer cancel()
	conf := a.probeTLS(named)
	transport := &http.Transport{TLSClientConfig: conf, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	p := prober{client: &http.Client{Transport: transport}, insecure: conf.InsecureSkipVerify}
	host := reference.Domain(named)
	if host == "docker.io" {
		host = "registry-1.docker.io"
	}
	path := host + "/v2/" + reference.Path(named) + "/manifests/" + manifestName(named)
	if blob != "" {
		path = host + "/v2/" + reference.Path(named) + "/blobs/" + blob
	}
	answer, err := p.get(ctx, "https://"+path, "")
	if err != nil && p.insecure {
		answer, err = p.get(ctx, "http://"+path, "")
	}
	if err == nil && answer.StatusCode == http.StatusUnauthorized {
		answer, err = p.getWithToken(ctx, answer)
	}
	if err != nil {
		return 0, nil
	}
	return answer.StatusCode, retryAfter(answer.Header.Get("Retry-After"), time.Now())
}

// prober sends requests without credentials.
type prober struct {
	client   *http.Client
	insecure bool // plain HTTP will do
}

// get asks for a URL and looks at the header of the answer only.
func (p prober) get(ctx context.Context, url, token string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header["Accept"] = manifest.DefaultRequestedManifestMIMETypes
	request.Header.Set("User-Agent", userAgent)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	return answer, answer.Body.Close()
}

// challenge is a parameter of a WWW-Authenticate header.
var challenge = regexp.MustCompile(`([a-z]+)="([^"]*)"`)

// getWithToken asks again with the token that everybody gets, as public registries want it. If the token server
// refuses, its answer is returned.
func (p prober) getWithToken(ctx context.Context, refused *http.Response) (*http.Response, error) {
	header := refused.Header.Get("WWW-Authenticate")
	parameters := url.Values{}
	for _, m := range challenge.FindAllStringSubmatch(header, -1) {
		parameters.Set(m[1], m[2])
	}
	address, err := url.Parse(parameters.Get("realm"))
	if err != nil || !strings.HasPrefix(header, "Bearer ") || address.Scheme != "https" && !p.insecure {
		return refused, err
	}
	address.RawQuery = url.Values{"service": parameters["service"], "scope": parameters["scope"]}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	var token struct {
		Token string `json:"token"`
	}
	if answer.StatusCode == http.StatusOK {
		err = json.NewDecoder(io.LimitReader(answer.Body, maxToken)).Decode(&token)
	}
	if err := errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
		return answer, err
	}
	return p.get(ctx, refused.Request.URL.String(), token.Token)
}

func manifestName(named reference.Named) string {
	switch n := named.(type) {
	case reference.Digested:
		return n.Digest().String()
	case reference.Tagged:
		return n.Tag()
	}
	return "latest"
}

// probeTLS makes the TLS configuration that the library would use, as far as that is known.
func (a *attempt) probeTLS(named reference.Named) *tls.Config {
	conf := &tls.Config{InsecureSkipVerify: a.sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue}
	if a.sys.DockerInsecureSkipTLSVerify == types.OptionalBoolUndefined {
		registry, err := sysregistriesv2.FindRegistry(a.sys, named.Name())
		conf.InsecureSkipVerify = err == nil && registry != nil && registry.Insecure
	}
	dirs := []string{a.sys.DockerCertPath}
	for _, base := range append([]string{a.sys.DockerPerHostCertDirPath}, hostCertDirs...) {
		if base != "" {
			dirs = append(dirs, filepath.Join(base, a.origin.registry))
		}
	}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if err := tlsclientconfig.SetupCertificates(dir, conf); err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.e.log.WithError(quiet{err}).Debug("certificates of a registry")
		}
	}
	return conf
}

// retryAfter reads the header: seconds, or a date. It returns nil if it says nothing.
func retryAfter(header string, now time.Time) *int64 {
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil && seconds >= 0 {
		return &seconds
	}
	date, err := http.ParseTime(header)
	if err != nil {
		return nil
	}
	return new(max(0, int64(date.Sub(now).Round(time.Second)/time.Second)))
}
