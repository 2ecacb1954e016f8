package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/progress"
)

const (
	// maxRedirects is how often a server may send us elsewhere.
	maxRedirects = 10
	// maxURL is how long a URL may be, in bytes.
	maxURL = 8 << 10
)

// download is a tar that a web server has.
type download struct{ url *url.URL }

// parseURL reads the address of a download.
func parseURL(text string) (*download, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > maxURL:
		return nil, &errdefs.InvalidParameter{Parameter: "url", Reason: "it is no URL"} // err has the whole text
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, &errdefs.InvalidParameter{Parameter: "url", Reason: "it does not begin with http:// or https://, and a host"}
	}
	return &download{u}, nil
}

// open fetches and hands over what comes. An error of the server, and one on the way from it, is the server's.
func (d *download) open(ctx context.Context, e *Engine, r *jobs.Reporter, read func(io.Reader) (*archives.Archive, error)) (*archives.Archive, error) {
	inner, end := context.WithCancelCause(ctx)
	defer end(nil)
	guard := &stallGuard{timeout: defaultStallTimeout, end: end}
	archive, err := d.fetch(inner, guard, r, read)
	if cause := context.Cause(inner); err != nil && cause != nil && ctx.Err() == nil {
		err = cause
	}
	return archive, e.classify(err, origin{reference: clean(d.url.String()), registry: clean(d.url.Host), given: d.url.User != nil})
}

func (d *download) fetch(ctx context.Context, guard *stallGuard, r *jobs.Reporter, read func(io.Reader) (*archives.Archive, error)) (*archives.Archive, error) {
	client, closeIdle := downloadClient()
	defer closeIdle()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url.String(), nil)
	if err != nil {
		return nil, &errdefs.InvalidParameter{Parameter: "url", Reason: clean(err.Error())}
	}
	request.Header.Set("User-Agent", userAgent)
	stall := guard.timer()
	response, err := client.Do(request)
	stall.Stop()
	if err != nil {
		return nil, &transferError{err}
	}
	defer func() { _ = response.Body.Close() }() // what came was read, or is not wanted
	if response.StatusCode != http.StatusOK {
		return nil, &transferError{fmt.Errorf("the server answers %s", response.Status)}
	}
	tracker := r.Progress()
	tracker.Add(progress.Blob{Digest: uploadBlob, Kind: progress.Other, Size: known(response.ContentLength)})
	tracker.Planned()
	return read(&downloadBody{response.Body, guard})
}

// downloadClient returns a client that decompresses nothing by itself, and never goes from https to http.
func downloadClient() (client *http.Client, closeIdle func()) {
	transport := http.DefaultTransport.(*http.Transport).Clone() // documented to be one
	transport.DisableCompression = true
	transport.DisableKeepAlives = true
	transport.TLSHandshakeTimeout = 30 * time.Second
	return &http.Client{Transport: transport, CheckRedirect: checkRedirect}, transport.CloseIdleConnections
}

func checkRedirect(request *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("the server redirects more than %d times", maxRedirects)
	case request.URL.Scheme != "http" && request.URL.Scheme != "https":
		return errors.New("the server redirects to what is neither http nor https")
	case request.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return errors.New("the server redirects from https to http")
	}
	return nil
}

// downloadBody is what comes, with the server to blame if it does not.
type downloadBody struct {
	r     io.Reader
	guard *stallGuard
}

// Read reads on.
func (b *downloadBody) Read(p []byte) (int, error) {
	stall := b.guard.timer()
	n, err := b.r.Read(p)
	stall.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = &transferError{err}
	}
	return n, err
}
