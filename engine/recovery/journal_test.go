package recovery

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// written returns the records in a store's root.
func written(t *testing.T, root string) (all []record) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range found {
		r, err := readRecord(dir)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, *r)
	}
	return all
}

func TestJournal(t *testing.T) {
	t.Parallel()
	j := &Journal{root: t.TempDir()}
	if err := j.Suspect(); err != nil || j.Changed() || len(written(t, j.root)) > 0 {
		t.Errorf("before the first change: %v, changed %v, written %v", err, j.Changed(), written(t, j.root))
	}
	before := time.Now()
	done, err := j.Change()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Note("a", "b", ""); err != nil {
		t.Fatal(err)
	}
	got := written(t, j.root)
	if len(got) != 1 || got[0].Clean.Before(before) || got[0].Disk != diskOf(j.root) {
		t.Fatalf("written: %+v", got)
	}
	if d := cmp.Diff([]string{"a", "b"}, got[0].touched()); d != "" {
		t.Error(d)
	}
	if !j.Quiet().IsZero() {
		t.Error("quiet while a change runs")
	}
	done()
	done() // once more does no harm
	if j.Quiet().IsZero() {
		t.Error("not quiet after the change")
	}
	j.Forget("a")
	if err := j.Note("c"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"b", "c"}, written(t, j.root)[0].touched()); d != "" {
		t.Error(d)
	}
	if err := j.Suspect(); err != nil || written(t, j.root)[0].Disk != unknownDisk {
		t.Errorf("after a failed sync: %v, %+v", err, written(t, j.root))
	}
	if err := j.Close(true); err != nil || len(written(t, j.root)) > 0 {
		t.Errorf("after the end: %v, %v", err, written(t, j.root))
	}
	if err := j.Close(true); err != nil {
		t.Error(err)
	}
}

func TestJournalCleanPoint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &Journal{root: t.TempDir()}
		j.Clean(time.Now()) // nothing was changed: nothing is written
		done, err := j.Change()
		if err != nil {
			t.Fatal(err)
		}
		first := written(t, j.root)[0].Clean
		done()
		tests := []struct {
			after time.Duration
			moves bool
		}{{newer / 2, false}, {newer, true}}
		for _, test := range tests {
			time.Sleep(test.after)
			j.Clean(j.Quiet())
			if moved := written(t, j.root)[0].Clean.After(first); moved != test.moves {
				t.Errorf("after %v more the clean point moved: %v", test.after, moved)
			}
		}
		j.Clean(time.Time{})
		if err := j.Close(false); err != nil || len(written(t, j.root)) != 1 {
			t.Errorf("left behind: %v, %v", err, written(t, j.root))
		}
	})
}

func TestRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if r, err := readRecord(dir); r != nil || err != nil {
		t.Errorf("none: %+v, %v", r, err)
	}
	early, late := time.Unix(1, 0).UTC(), time.Unix(2, 0).UTC()
	a := &record{Clean: late, Disk: "d", Touched: map[string]bool{"a": true}}
	if err := a.write(dir, true); err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(dir)
	if err != nil || !cmp.Equal(a, got) {
		t.Errorf("read %+v, %v, want %+v", got, err, a)
	}
	want := &record{Clean: early, Disk: unknownDisk, Touched: map[string]bool{"a": true, "b": true}}
	if d := cmp.Diff(want, a.merge(&record{Clean: early, Disk: "e", Touched: map[string]bool{"b": true}})); d != "" {
		t.Error(d)
	}
	if err := os.WriteFile(filepath.Join(dir, recordFile), []byte(`{"clean`), 0o600); err != nil {
		t.Fatal(err)
	}
	// Nothing is known: everything is looked at.
	if got, err := readRecord(dir); err != nil || !got.Clean.IsZero() || got.Disk != unknownDisk {
		t.Errorf("torn: %+v, %v", got, err)
	}
}
