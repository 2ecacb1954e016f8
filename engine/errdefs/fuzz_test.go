package errdefs_test

import (
	"testing"

	"github.com/imaged-project/imaged/engine/errdefs"
)

func FuzzRedact(f *testing.F) {
	for _, seed := range []string{"https://u:p@h/x?sig=1", "u:p@h/a:1@sha256:00", "docker://a@b:c@d://e@f", "a:b/c@d?key=e&f=g"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once := errdefs.Redact(text)
		if again := errdefs.Redact(once); again != once {
			t.Errorf("Redact(%q) = %q, then %q", text, once, again)
		}
	})
}
