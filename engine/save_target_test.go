package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// What is being saved has no name until it is whole, and takes nobody's place, should somebody have been faster.
func TestTargetTakesNobodysPlace(t *testing.T) {
	t.Parallel()
	tmp, err := newTempDir(t.TempDir(), logrus.New())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tmp.close() }() // the test's own folder goes, too
	for _, folder := range []bool{false, true} {
		for what, plant := range map[string]func(path, other string) error{
			"file":     func(path, _ string) error { return os.WriteFile(path, []byte("text"), 0o600) },
			"symlink":  func(path, other string) error { return os.Symlink(other, path) },
			"hardlink": func(path, other string) error { return os.Link(other, path) },
			"folder":   func(path, _ string) error { return os.Mkdir(path, 0o700) },
		} {
			dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
			if err := os.WriteFile(other, []byte("text"), 0o600); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "out")
			o, err := openTarget(path, folder, tmp)
			if err != nil {
				t.Fatal(err)
			}
			checkUnfinished(t, o.target, dir)
			if err := plant(path, other); err != nil {
				t.Fatal(err)
			}
			if err := o.commit(); errdefs.Name(err) != "InvalidParameter" {
				t.Errorf("over a %s: %v", what, err)
			}
			if err := o.close(); err != nil {
				t.Error(err)
			}
			if notes := entries(t, tmp.path); len(notes) > 0 {
				t.Errorf("notes are left: %v", notes)
			}
			if names := entries(t, dir); len(names) != 1 || names[0] != "out" {
				t.Errorf("beside a %s: %v", what, names)
			}
			if text, err := os.ReadFile(other); err != nil || string(text) != "text" {
				t.Errorf("behind a %s: %q, %v", what, text, err)
			}
		}
	}
}

// checkUnfinished wants a target to be nobody else's until it is whole.
func checkUnfinished(t *testing.T, target *target, dir string) {
	t.Helper()
	names := entries(t, dir)
	if target.root == nil {
		if info, err := target.file.Stat(); err != nil || info.Mode().Perm() != 0o600 || len(names) != 0 && target.temp == "" {
			t.Errorf("an unfinished file: %v, %v beside it, %v", info.Mode(), names, err)
		}
		return
	}
	info, err := os.Stat(target.temp)
	if err != nil || info.Mode().Perm() != 0o700 || len(names) != 1 || !strings.HasPrefix(names[0], targetPrefix) {
		t.Errorf("an unfinished folder: %v as %v, %v", info.Mode(), names, err)
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names
}
