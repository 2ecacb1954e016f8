package main

import (
	"net/url"
	"strings"
)

// peer is one end of a copy between hosts: an image in the store of a host.
type peer struct {
	user, host, port string // no host: this one
	image            string // empty, as the destination: under the names it has
}

func (p peer) remote() bool { return p.host != "" }

// login is what ssh takes for the host.
func (p peer) login() string {
	if p.user == "" {
		return p.host
	}
	return p.user + "@" + p.host
}

// String names the image and its host, for people.
func (p peer) String() string {
	switch {
	case !p.remote() && p.image == "":
		return "this host"
	case !p.remote():
		return p.image
	}
	return p.login() + "::" + p.image
}

// hop is a copy between hosts.
type hop struct{ from, to peer }

// parseHop reads the arguments of copy; nil if none of them is on another host.
func parseHop(args []string) (*hop, error) {
	h := &hop{}
	remote := false
	for i, end := range []*peer{&h.from, &h.to} {
		if i == len(args) {
			break
		}
		p, ok, err := parsePeer(args[i])
		if err != nil {
			return nil, err
		}
		remote = remote || ok
		*end = p
	}
	if !remote {
		return nil, nil
	}
	for _, end := range []peer{h.from, h.to} {
		if transport, _, found := strings.Cut(end.image, ":"); !end.remote() && found && isTransport(transport, end.image) {
			return nil, usagef("copy in two steps", "to and from other hosts go images of the store, and %s is none", end.image)
		}
	}
	if h.from.image == "" {
		return nil, usagef("name it after the host, as in HOST::IMAGE", "the image to copy is missing")
	}
	return h, nil
}

// isTransport tells whether a reference has a transport, whichever.
func isTransport(transport, reference string) bool {
	p, err := place(reference)
	return err == nil && transport != "containers-storage" && !strings.HasPrefix(p, "containers-storage:")
}

// parsePeer reads [USER@]HOST::IMAGE and ssh://[USER@]HOST[:PORT]/IMAGE; not ok: it is no such thing, but an image of
// this host.
func parsePeer(text string) (p peer, ok bool, err error) {
	if strings.HasPrefix(text, "ssh://") {
		return parsePeerURL(text)
	}
	login, image, found := strings.Cut(text, "::")
	if !found || strings.Contains(login, "/") {
		return peer{image: strings.TrimPrefix(text, "containers-storage:")}, false, nil
	}
	p = peer{host: login, image: image}
	if user, host, has := strings.Cut(login, "@"); has {
		p.user, p.host = user, host
	}
	return p, true, p.check(text)
}

func parsePeerURL(text string) (p peer, ok bool, err error) {
	address, err := url.Parse(text)
	if err != nil {
		return p, true, usagef("write ssh://[USER@]HOST[:PORT]/IMAGE", "%s is no address", text)
	}
	if _, has := address.User.Password(); has || address.RawQuery != "" || address.Fragment != "" {
		return p, true, usagef("let ssh ask for it, or use a key", "an address for ssh has no place for a password or a query")
	}
	p = peer{user: address.User.Username(), host: address.Hostname(), port: address.Port(), image: strings.Trim(address.Path, "/")}
	return p, true, p.check(text)
}

// check refuses hosts and users that ssh or a shell could take for something else.
func (p peer) check(text string) error {
	bad := func(part string) bool {
		return strings.HasPrefix(part, "-") || strings.ContainsAny(part, " '\"\\$`;&|<>()@%") || needsEscape(part)
	}
	if p.host == "" || bad(p.host) || bad(p.user) {
		return usagef("write [USER@]HOST::IMAGE or ssh://[USER@]HOST[:PORT]/IMAGE", "%s names no host", text)
	}
	return nil
}
