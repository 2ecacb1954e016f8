package main

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseHop(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*hop{
		"alpine oci:x":                           nil,
		"docker://[::1]:5000/a b":                nil,
		"containers-storage:a b":                 nil,
		"host::a":                                {from: peer{host: "host", image: "a"}},
		"me@host::localhost/a:1 b":               {from: peer{user: "me", host: "host", image: "localhost/a:1"}, to: peer{image: "b"}},
		"a me@host::":                            {from: peer{image: "a"}, to: peer{user: "me", host: "host"}},
		"a ssh://me@host:22/r.example:5000/b:2":  {from: peer{image: "a"}, to: peer{user: "me", host: "host", port: "22", image: "r.example:5000/b:2"}},
		"a ssh://[fe80::1]":                      {from: peer{image: "a"}, to: peer{host: "fe80::1"}},
		"h::a i::b":                              {from: peer{host: "h", image: "a"}, to: peer{host: "i", image: "b"}},
		"containers-storage:a h::":               {from: peer{image: "a"}, to: peer{host: "h"}},
		"localhost:5000/a@sha256:0 ssh://host/b": {from: peer{image: "localhost:5000/a@sha256:0"}, to: peer{host: "host", image: "b"}},
	} {
		got, err := parseHop(strings.Fields(text))
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(hop{}, peer{})); diff != "" || err != nil {
			t.Errorf("%s: %v\n(-want +got):\n%s", text, err, diff)
		}
	}
}

func TestParseHopRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"-oProxyCommand=x::a", "me@-host::a", "::a", "@::a", "a@b@c::x", "a;b::x", "$(x)::a", "h\x1b::a",
		"ssh://me:secret@h/a", "ssh://h/a?b", "ssh://h/a#b", "ssh:///a", "ssh://-o/a", "ssh://%0a/a", "ssh://-me@h/a",
		"h::", "docker://a/b h::", "oci:a h::", "h::a dir:x",
	} {
		got, err := parseHop(strings.Fields(text))
		if f, ok := errors.AsType[*failure](err); !ok || f.code != exitUsage {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestQuote gives a real shell what must reach a program as one argument.
func TestQuote(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"", "a", "a b", "it's", "'", "$(id) `id` ; \"x\" \\ * ~ !", "a\nb", "--"} {
		out, err := exec.Command("/bin/sh", "-c", "printf '<%s>' "+quote(arg)).Output()
		if got := string(out); err != nil || got != "<"+arg+">" {
			t.Errorf("%q became %q, %v", arg, got, err)
		}
	}
}

func TestPlaces(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	for text, want := range map[string]string{
		"alpine":                     "containers-storage:alpine",
		"localhost:5000/a":           "containers-storage:localhost:5000/a",
		"containers-storage:oci:1":   "containers-storage:oci:1",
		"docker://a/b":               "docker://a/b",
		"docker:1":                   "containers-storage:docker:1",
		"oci:x:y":                    "oci:" + folder + "/x:y",
		"dir:/x":                     "dir:/x",
		"docker-archive:../x.tar:@0": "docker-archive:" + folder + "/../x.tar:@0",
	} {
		if got, err := place(text); got != want || err != nil {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	if got, err := absolutePlace("oci"); got != "oci" || err != nil {
		t.Errorf("oci: got %s, %v", got, err)
	}
}

func TestRemoteMessage(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"":                    "",
		"imagectl: no\n":      "no",
		"Welcome!\nssh: no\n": "Welcome!\nssh: no",
		"Welcome!\n" + `{"error":"io.imaged.images.ImageNotFound","parameters":{"name":"x","message":"image x: none"}}`: "image x: none",
		`{"error":"a.B","parameters":{}}`: "it failed with a.B",
		`{"no":"error"}`:                  `{"no":"error"}`,
	} {
		if got := remoteMessage(said); got != want {
			t.Errorf("%q: got %q, want %q", said, got, want)
		}
	}
}
