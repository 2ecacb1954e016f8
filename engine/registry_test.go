package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/docker/distribution/registry/api/errcode"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

func TestTextsAreKnown(t *testing.T) {
	t.Parallel()
	e := &Engine{}
	for text, want := range map[string]string{
		"applying layer: exit status 1: write /usr/x: no space left on device":      "StorageFull",
		"applying layer: exit status 1: write /usr/x: disk quota exceeded":          "StorageFull",
		"reading manifest: exceeded maximum allowed size of 4194304 bytes":          "LimitExceeded",
		"writing blob: Digest did not match, expected sha256:a, got sha256:b":       "InvalidArchive",
		"Manifest does not match provided manifest digest sha256:a":                 "InvalidArchive",
		`layer 0 (blob "sha256:a") does not match config's DiffID "sha256:b"`:       "InvalidArchive",
		"Error processing tar file(exit status 1): archive/tar: invalid tar header": "InvalidArchive",
		"storing blob: gzip: invalid header":                                        "InvalidArchive",
		"storing blob: flate: corrupt input before offset 5":                        "InvalidArchive",
		"storing blob: gzip: invalid checksum":                                      "InvalidArchive",
		"storing blob: invalid input: magic number mismatch":                        "InvalidArchive",
		"Error processing tar file(exit status 1): unexpected EOF":                  "InvalidArchive",
		"reading manifest 1 in registry.test/x: StatusCode: 404, \"<html>\"":        "ReferenceNotFound",
		"reading manifest 1 in registry.test/x: StatusCode: 403, \"<html>\"":        "AccessDenied",
		"reading manifest 1 in registry.test/x: StatusCode: 429, \"slow down\"":     "RateLimited",
		`registry returned invalid tag "a b": invalid tag format`:                   "InvalidArchive",
		"invalid character '<' looking for beginning of value":                      "InvalidArchive",
		"json: cannot unmarshal number into Go value of type string":                "InvalidArchive",
		"reading /root/.docker/config.json: invalid character '<'":                  "Failed",
		"registry a.test is blocked in /etc/containers/registries.conf or /root/x":  "AccessDenied",
		"nothing that we know": "Failed",
	} {
		if got := errdefs.Name(e.classify(errors.New(text), origin{})); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

func TestTypesAreKnown(t *testing.T) {
	t.Parallel()
	e := &Engine{}
	for _, c := range []struct {
		err  error
		want string
	}{
		{unix.ENOSPC, "StorageFull"},
		{unix.EDQUOT, "StorageFull"},
		{unix.ENOLCK, "StoreBusy"},
		{context.Canceled, "Cancelled"},
		{errcode.ErrorCodeUnauthorized, "AuthenticationRequired"},
		{errcode.ErrorCodeDenied.WithMessage("no"), "AccessDenied"},
		{errcode.ErrorCodeTooManyRequests, "RateLimited"},
		{errcode.ErrorCodeUnavailable, "RegistryUnreachable"},
		{&transferError{unix.ECONNRESET}, "RegistryUnreachable"},
		{&transferError{errTruncated}, "RegistryUnreachable"},
		{&errdefs.StoreBusy{}, "StoreBusy"},
	} {
		if got := errdefs.Name(e.classify(fmt.Errorf("wrapped: %w", c.err), origin{})); got != c.want {
			t.Errorf("%v is %s, want %s", c.err, got, c.want)
		}
	}
}

func TestCleanHidesSecretsAndControls(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain text: 5 %":                             "plain text: 5 %",
		"Zürich 東京":                                   "Zürich 東京",
		"Get \"https://u:geheim@r.test/v2/\": x":      "Get \"https://r.test/v2/\": x",
		"https://r.test/b?X-Amz-Signature=geheim&x=1": "https://r.test/b?X-Amz-Signature=…&x=1",
		"https://r.test/t?access_token=geheim":        "https://r.test/t?access_token=…",
		"a\x1b[31mb":                                  `a\x1b[31mb`,
		"a\nb\r\tc\x00":                               `a\nb\r\tc\x00`,
		"a\u202eb\u2066":                              `a\u202eb\u2066`,
		"a\u2028b":                                    `a\u2028b`,
		strings.Repeat("x", 2000):                     strings.Repeat("x", 1000) + "…",
	} {
		if got := clean(text); got != want {
			t.Errorf("clean(%q) is %q, want %q", text, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("https://user:pass@host/x?token=y\x1b[0m\u202e\n")
	f.Fuzz(func(t *testing.T, text string) {
		got := clean(text)
		if !utf8.ValidString(got) || len(got) > maxWords+16 {
			t.Errorf("clean(%q) is %q", text, got)
		}
		for _, r := range got {
			if unicode.Is(unicode.C, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
				t.Errorf("clean(%q) has %U", text, r)
			}
		}
	})
}

func FuzzParsePullSource(f *testing.F) {
	for _, seed := range []string{"app", "docker://app:1", "oci-archive:/x:y", "r.test:5000/a/b:t@sha256:" + strings.Repeat("0", 64), "https://u:p@x/y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parsePullSource(text)
		if err != nil {
			if errdefs.Name(err) != "InvalidReference" {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if s.transport == transportRegistry && s.named == nil && !s.byID {
			t.Errorf("%q is nothing: %+v", text, s)
		}
	})
}

func TestRetryAfterHeader(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]int64{
		"7": 7, "0": 0, "Fri, 02 Jan 2026 03:05:05 GMT": 60, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
		"": -1, "-5": -1, "soon": -1,
	} {
		got := int64(-1)
		if seconds := retryAfter(header, now); seconds != nil {
			got = *seconds
		}
		if got != want {
			t.Errorf("%q is %d, want %d", header, got, want)
		}
	}
}

func TestCredentialsPrintAsNothing(t *testing.T) {
	t.Parallel()
	c := Credentials{Username: "anna", Password: "geheim", IdentityToken: "geheim"}
	o := PullOptions{Credentials: &c}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%+v", o), fmt.Sprintf("%v", &c)} {
		if strings.Contains(text, "geheim") {
			t.Errorf("%s", text)
		}
	}
}
