package errdefs_test

import (
	"strings"
	"testing"

	"github.com/imaged-project/imaged/engine/errdefs"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		"plain: text":                               "plain: text",
		"registry.test:5000/a/b:1":                  "registry.test:5000/a/b:1",
		"a/b:1@" + digest:                           "a/b:1@" + digest,
		"b:1@" + digest + ": not found":             "b:1@" + digest + ": not found",
		`reference "b:1@` + digest + `": no`:        `reference "b:1@` + digest + `": no`,
		"https://u:geheim@r.test/v2":                "https://r.test/v2",
		"docker://u:geheim@r.test/a":                "docker://r.test/a",
		"u:geheim@r.test:5000/a:1":                  "r.test:5000/a:1",
		`image "u:geheim@r.test/a": no such`:        `image "r.test/a": no such`,
		"https://r.test/?sig=geheim&x=1":            "https://r.test/?sig=…&x=1",
		"https://geheim@r.test/v2":                  "https://r.test/v2",
		"https://u:ge@heim@r.test/v2":               "https://r.test/v2",
		"https://u:ge/heim@r.test/v2":               "https://r.test/v2",
		"u:ge/heim@r.test/v2":                       "r.test/v2",
		"u:12345@r.test/v2":                         "r.test/v2",
		"u:geheim@r.test/b@" + digest:               "r.test/b@" + digest,
		"docker://geheim@b@" + digest:               "docker://b@" + digest,
		"docker://b@" + digest:                      "docker://b@" + digest,
		"you sent Basic YW5uYTpnZWhlaW0=":           "you sent Basic …",
		"authorization: bearer eyJh.bGci.Oi-":       "authorization: bearer …",
		"Basic authentication wants a Bearer token": "Basic authentication wants a Bearer token",
		"b:1@sha256:abc":                            "b:1@sha256:abc",
		"https://r.test:5000/picture@2x.png":        "https://r.test:5000/picture@2x.png",
		"[::1]:5000/a@" + digest:                    "[::1]:5000/a@" + digest,
		"time=12:30:01 msg=\"mail a@b.test\"":       "time=12:30:01 msg=\"mail a@b.test\"",
	} {
		if got := errdefs.Redact(text); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
}
