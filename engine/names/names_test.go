package names_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
)

const (
	hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	sum   = "sha256:" + hex64
)

func TestNormalize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a":                         "localhost/a:latest",
		"a:1":                       "localhost/a:1",
		"team/a":                    "localhost/team/a:latest",
		"docker.io/a":               "docker.io/library/a:latest",
		"docker.io/team/a":          "docker.io/team/a:latest",
		"host:5000/a":               "host:5000/a:latest",
		"localhost/a":               "localhost/a:latest",
		"quay.io/a@" + sum:          "quay.io/a@" + sum,
		"quay.io/a:tag@" + sum:      "quay.io/a@" + sum,
		"quay.io/a/b/c:v1.0_x-y":    "quay.io/a/b/c:v1.0_x-y",
		"containers-storage:latest": "localhost/containers-storage:latest",
	} {
		got, err := names.Normalize(in)
		if err != nil || got.String() != want {
			t.Errorf("Normalize(%q) = %v, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", ":latest", "A", "a:", "a b", "a\n", "a\x7f", "docker://a", "/a", "a//b", "@" + sum, "a@sha256:12", hex64, "ä", "-a"} {
		if got, err := names.Normalize(in); errdefs.Name(err) != "InvalidReference" {
			t.Errorf("Normalize(%q) = %v, %v, want InvalidReference", in, got, err)
		}
	}
	for _, prefix := range []string{"a", "sha256:"} {
		_, err := names.ParseQuery(prefix + strings.Repeat("ä", 8<<20))
		if e, ok := errors.AsType[*errdefs.InvalidReference](err); !ok || len(err.Error()) > 1000 || !utf8.ValidString(e.Reference) {
			t.Errorf("a reference of 16 MiB after %s: %.100v", prefix, err)
		}
	}
	for _, in := range []string{"a@" + sum, sum} {
		if got, err := names.Tag(in); errdefs.Name(err) != "InvalidReference" {
			t.Errorf("Tag(%q) = %v, %v, want InvalidReference", in, got, err)
		}
	}
}

func TestParseQuery(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]names.Query{
		hex64:                {Text: hex64, ID: hex64},
		sum:                  {Text: sum, ID: hex64},
		"cafe":               {Text: "cafe", IDPrefix: "cafe", Short: true},
		"a:1":                {Text: "a:1", Short: true},
		"quay.io/a:1@" + sum: {Text: "quay.io/a@" + sum},
	} {
		got, err := names.ParseQuery(in)
		if err != nil || got.Text != want.Text || got.ID != want.ID || got.IDPrefix != want.IDPrefix || got.Short != want.Short {
			t.Errorf("ParseQuery(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
}

func TestRemoteAndLocal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sys := &types.SystemContext{
		SystemRegistriesConfPath: "testdata/registries.conf", SystemRegistriesConfDirPath: filepath.Join(dir, "d"),
		UserShortNameAliasConfPath: filepath.Join(dir, "aliases.conf"),
	}
	remote := func(name string) (all []string, reason string) {
		candidates, reason, err := names.Remote(sys, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range candidates {
			all = append(all, c.Value.String())
		}
		return all, reason
	}
	for name, want := range map[string][]string{
		"thing":          {"one.example/thing:latest", "two.example/thing:latest"},
		"thing:1":        {"one.example/thing:1", "two.example/thing:1"},
		"nick":           {"three.example/full/name:latest"},
		"four.example/x": {"four.example/x:latest"},
	} {
		if got, reason := remote(name); !slices.Equal(got, want) || reason == "" {
			t.Errorf("Remote(%s) = %v, %q, want %v", name, got, reason, want)
		}
	}
	if _, reason := remote("nick"); !strings.Contains(reason, "testdata/registries.conf") {
		t.Errorf("the reason of an alias does not name its file: %s", reason)
	}
	q, err := names.ParseQuery("nick")
	if err != nil {
		t.Fatal(err)
	}
	local, err := names.Local(sys, q)
	if err != nil || local[0].String() != "three.example/full/name:latest" || local[1].String() != "localhost/nick:latest" {
		t.Errorf("Local = %v, %v", local, err)
	}
}

func TestPlatform(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, have names.Platform
		ok         bool
	}{
		{names.Platform{}, names.Platform{OS: "linux", Architecture: "amd64"}, true},
		{names.Platform{Architecture: "x86_64"}, names.Platform{OS: "linux", Architecture: "amd64"}, true},
		{names.Platform{Architecture: "arm64"}, names.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, true},
		{names.Platform{Architecture: "arm64", Variant: "v8"}, names.Platform{OS: "linux", Architecture: "arm64"}, true},
		{names.Platform{Architecture: "arm", Variant: "v6"}, names.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, false},
		{names.Platform{OS: "windows"}, names.Platform{OS: "linux", Architecture: "amd64"}, false},
	} {
		if got := c.want.Accepts(c.have); got != c.ok {
			t.Errorf("%s accepts %s: %t, want %t", c.want, c.have, got, c.ok)
		}
	}
}

// Whatever is written, it is either refused, or it is a reference that stays the same when it is completed again, and
// has nothing in it that a terminal would not show.
func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"a", "docker.io/a:1", "a@" + sum, hex64, sum, ":x", "a\n", "docker://x", "h:5000/a/b:c", "localhost/a", "A", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if q, err := names.ParseQuery(s); err == nil {
			if strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) || r == ' ' }) {
				t.Errorf("ParseQuery(%q) = %+v", s, q)
			}
		} else if errdefs.Name(err) != "InvalidReference" {
			t.Errorf("ParseQuery(%q) = %v", s, err)
		}
		named, err := names.Normalize(s)
		if err != nil {
			if errdefs.Name(err) != "InvalidReference" {
				t.Errorf("Normalize(%q) = %v", s, err)
			}
			return
		}
		again, err := names.Normalize(named.String())
		if err != nil || again.String() != named.String() {
			t.Errorf("Normalize(%q) = %s, and again %v, %v", s, named, again, err)
		}
		if reference.IsNameOnly(named) {
			t.Errorf("Normalize(%q) = %s: neither tag nor digest", s, named)
		}
	})
}
