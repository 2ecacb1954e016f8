package engine

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"strings"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// A registry answers the beginning of an upload with the address to send it to. The library sends it there, with the
// credentials, whichever host that is. It has no hook for its requests; but Go's HTTP client tells, in the goroutine
// that asks for it, which connection it gets before anything is written to it. So we can see what the library asks it
// for, and close the connection.

// library is where the functions of the library are that send requests to registries.
const library = "github.com/containers/image/v5/docker.(*dockerClient)."

// confineUploads returns the attempt's context with a hook that ends the attempt when the library is about to send an
// upload to another host than the registry. Behind a proxy only the hosts of encrypted connections are known.
func confineUploads(a *attempt) context.Context {
	hosts := registryHosts(a.origin.registry)
	refuse := func(host string) {
		a.guard.end(&errdefs.AccessDenied{
			Registry: a.origin.registry, Reason: "it wants the upload to be sent to another host, " + clean(host) + ", which must not get the credentials",
		})
	}
	ctx := a.ctx
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(hostPort string) {
			if !hosts.addresses[hostPort] && followsLocation() {
				refuse(hostPort)
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			if conn, ok := info.Conn.(*tls.Conn); ok {
				name := conn.ConnectionState().ServerName
				if name != "" && name != hosts.name && followsLocation() {
					refuse(name)
				}
			}
			if ctx.Err() != nil {
				_ = info.Conn.Close() // nothing may be sent any more
			}
		},
	})
}

// registryHost is what a registry's connections go to.
type registryHost struct {
	name      string
	addresses map[string]bool // with ports; the proxy's, too
}

func registryHosts(registry string) registryHost {
	if registry == "docker.io" {
		registry = "registry-1.docker.io"
	}
	h := registryHost{name: registry, addresses: map[string]bool{registry: true}}
	if name, _, err := net.SplitHostPort(registry); err == nil {
		h.name = name
	} else {
		h.name = strings.Trim(registry, "[]")
		h.addresses[net.JoinHostPort(h.name, "443")] = true
		h.addresses[net.JoinHostPort(h.name, "80")] = true
	}
	for _, scheme := range []string{"http", "https"} {
		request := &http.Request{URL: &url.URL{Scheme: scheme, Host: registry}}
		if proxy, err := http.ProxyFromEnvironment(request); err == nil && proxy != nil {
			h.addresses[proxyAddress(proxy)] = true
		}
	}
	return h
}

func proxyAddress(proxy *url.URL) string {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[proxy.Scheme]
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// followsLocation tells whether its caller is called by the library for an address that a registry gave it, and not
// for one that it made itself from the registry's name or a token server's.
func followsLocation() bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	given := false
	for {
		frame, more := frames.Next()
		function, ok := strings.CutPrefix(frame.Function, library)
		switch {
		case !ok:
		case function == "makeRequestToResolvedURLOnce":
			given = true
		case function == "makeRequest", strings.HasPrefix(function, "getBearerToken"), function == "detectPropertiesHelper", function == "getExternalBlob":
			return false
		}
		if !more {
			return given
		}
	}
}
