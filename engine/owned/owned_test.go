package owned

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// paths returns where folders lie, and releases them.
func paths(t *testing.T, dirs []*Dir) (found []string) {
	t.Helper()
	for _, d := range dirs {
		found = append(found, d.Path)
		if err := d.Release(); err != nil {
			t.Error(err)
		}
	}
	return found
}

func TestAbandoned(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	used, err := Make(Name(base, "ours-"))
	if err != nil {
		t.Fatal(err)
	}
	left, err := Make(Name(base, "ours-"))
	if err != nil {
		t.Fatal(err)
	}
	if err := left.Release(); err != nil {
		t.Fatal(err)
	}
	// What else lies there is nobody's business.
	for _, name := range []string{"theirs-x", "elsewhere"} {
		if err := os.Mkdir(filepath.Join(base, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(base, "elsewhere"), filepath.Join(base, "ours-link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "ours-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	found, err := Abandoned(base, "ours-")
	if err != nil {
		t.Fatal(err)
	}
	again, err := Abandoned(base, "ours-")
	if err != nil || len(paths(t, again)) != 0 {
		t.Errorf("found twice: %v, %v", again, err)
	}
	if got := paths(t, found); len(got) != 1 || got[0] != left.Path {
		t.Errorf("abandoned are %v, want %s", got, left.Path)
	}
	if err := used.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(used.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
}

func TestAbandonedWhereNothingIs(t *testing.T) {
	t.Parallel()
	found, err := Abandoned(filepath.Join(t.TempDir(), "x"), "")
	if err != nil || len(found) > 0 {
		t.Errorf("Abandoned = %v, %v", found, err)
	}
}

func TestMakeWhereNothingCanBe(t *testing.T) {
	t.Parallel()
	if _, err := Make(Name(filepath.Join(t.TempDir(), "x"), "ours-")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Make = %v", err)
	}
}
