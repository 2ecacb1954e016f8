package engine

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// A registry names the server to fetch a token from, and the library takes the credentials there, whichever host that is
// and even in the clear. As for uploads, the connection is looked at before anything is written to it.

// party is a registry that an attempt talks to, and how.
type party struct {
	sys    *types.SystemContext
	origin origin
}

// hasCredentials tells whether there are credentials for a repository: the caller's, or those of the daemon's user.
func (p *puller) hasCredentials(named reference.Named) bool {
	if p.options.Credentials != nil {
		return true
	}
	auth, err := config.GetCredentialsForRef(p.systemContext(), named)
	return err == nil && auth != (types.DockerAuthConfig{})
}

// confineTokens puts a hook into the attempt's context that ends the attempt when the library is about to take credentials
// to a token server whose certificate was not verified, unless that is one of the attempt's registries itself and the
// caller or the host's configuration wants it unverified.
func (a *attempt) confineTokens() {
	parties := append([]party{{a.sys, a.origin}}, a.others...)
	i := slices.IndexFunc(parties, func(p party) bool { return p.origin.given })
	if i < 0 {
		return
	}
	registry, trusted := parties[i].origin.registry, map[string]bool{}
	for _, p := range parties {
		p.addUnverified(trusted)
	}
	var strict atomic.Bool // a token server was asked for that must be verified
	a.ctx = httptrace.WithClientTrace(a.ctx, &httptrace.ClientTrace{
		GetConn: func(hostPort string) {
			if !trusted[hostOf(hostPort)] && fetchesToken() {
				strict.Store(true)
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			if !strict.Load() || verified(info.Conn) || !fetchesToken() {
				return
			}
			a.guard.end(&errdefs.AccessDenied{
				Registry: registry,
				Reason: "it wants the credentials to be sent to another server, " + info.Conn.RemoteAddr().String() +
					", which did not prove with a certificate who it is",
			})
			_ = info.Conn.Close() // nothing may be sent any more
		},
	})
}

// verified tells whether a connection is encrypted to a host that has proved its name.
func verified(conn net.Conn) bool {
	c, ok := conn.(*tls.Conn)
	return ok && len(c.ConnectionState().VerifiedChains) > 0
}

// addUnverified adds the hosts that may be spoken to without proof: the registry and its mirrors, each if that was asked for.
func (p party) addUnverified(hosts map[string]bool) {
	own, asked := hostOf(p.origin.registry), p.sys.DockerInsecureSkipTLSVerify
	if asked == types.OptionalBoolTrue {
		hosts[own] = true
	}
	named, err := reference.ParseNormalizedNamed(p.origin.reference)
	if err != nil {
		return // from a path
	}
	registry, err := sysregistriesv2.FindRegistry(p.sys, named.Name())
	if err != nil || registry == nil {
		return
	}
	for _, e := range append(slices.Clone(registry.Mirrors), registry.Endpoint) {
		location, _, _ := strings.Cut(cmp.Or(e.Location, p.origin.registry), "/")
		if host := hostOf(location); e.Insecure && (host != own || asked == types.OptionalBoolUndefined) {
			hosts[host] = true
		}
	}
}

// hostOf takes the port away.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.Trim(address, "[]")
}

// fetchesToken tells whether its caller is called by the library for a token.
func fetchesToken() bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		if function, ok := strings.CutPrefix(frame.Function, library); ok {
			return strings.HasPrefix(function, "getBearerToken")
		}
		if !more {
			return false
		}
	}
}
