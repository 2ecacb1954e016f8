package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var checksLeaks = regexp.MustCompile(`\b(goleak\.(VerifyTestMain|Find)|enginetest\.Main)\(`)

// TestEveryPackageLooksForLeaks finds packages whose tests might leave goroutines behind without anybody's noticing.
func TestEveryPackageLooksForLeaks(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.Dir}}{{range .TestGoFiles}} {{.}}{{end}}{{range .XTestGoFiles}} {{.}}{{end}}`, "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		tests, looks := false, false
		for _, name := range fields[1:] {
			text, err := os.ReadFile(filepath.Join(fields[0], name))
			if err != nil {
				t.Fatal(err)
			}
			tests = tests || bytes.Contains(text, []byte("\nfunc Test")) || bytes.Contains(text, []byte("\nfunc Fuzz"))
			looks = looks || checksLeaks.Match(text)
		}
		if tests && !looks {
			t.Errorf("%s: its TestMain has to call goleak.VerifyTestMain", fields[0])
		}
	}
}
