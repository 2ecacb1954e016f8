package recovery

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/mount"
	"github.com/google/go-cmp/cmp"
	logrustest "github.com/sirupsen/logrus/hooks/test"

	"github.com/imaged-project/imaged/engine/enginetest"
)

// left is a store that an engine leaves without ending well.
type left struct {
	t     *testing.T
	store storage.Store
	// old was there before the engine began, by the image's name; new came after.
	old, new *storage.Image
	journal  *Journal
}

// leave makes one. The power was cut if content has to be checked.
func leave(t *testing.T, power bool) *left {
	t.Helper()
	store := enginetest.OpenStore(t, enginetest.NewDirs(t))
	l := &left{t: t, store: store, journal: &Journal{root: store.GraphRoot()}}
	l.old = l.add("old", "a", "b")
	done, err := l.journal.Change()
	if err != nil {
		t.Fatal(err)
	}
	l.new = l.add("new", "a", "c", "d")
	done()
	if power {
		if err := l.journal.Suspect(); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *left) add(name string, layers ...string) *storage.Image {
	l.t.Helper()
	img, err := l.store.Image(enginetest.AddImage(l.t, l.store, enginetest.Image{Names: []string{"localhost/" + name + ":latest"}, Layers: layers}))
	if err != nil {
		l.t.Fatal(err)
	}
	return img
}

// parent returns the layer under a layer.
func (l *left) parent(id string) string {
	l.t.Helper()
	layer, err := l.store.Layer(id)
	if err != nil {
		l.t.Fatal(err)
	}
	return layer.Parent
}

// spoil empties a file of a layer's folder.
func (l *left) spoil(layer, file string) {
	l.t.Helper()
	path := filepath.Join(l.store.GraphRoot(), "overlay", layer, file)
	if _, err := os.Stat(path); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// recover is what the next engine does.
func (l *left) recover() (damaged map[string]error) {
	l.t.Helper()
	if err := l.journal.Close(false); err != nil {
		l.t.Fatal(err)
	}
	enginetest.AwaitUnlocked(l.t, filepath.Join(l.store.GraphRoot(), folder, prefix+"*"))
	log, hook := logrustest.NewNullLogger()
	r, err := Begin(l.t.Context(), l.store.GraphRoot(), log)
	if err != nil {
		l.t.Fatal(err)
	}
	_, damaged, err = r.Finish(l.t.Context(), l.store)
	if err != nil {
		l.t.Fatal(err)
	}
	if len(hook.AllEntries()) == 0 {
		l.t.Error("nobody was told of the unclean stop")
	}
	return damaged
}

// holds fails the test unless exactly these images are there, and so many layers.
func (l *left) holds(layers int, images ...*storage.Image) {
	l.t.Helper()
	var want, got []string
	for _, img := range images {
		want = append(want, img.ID)
	}
	all, err := l.store.Images()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, img := range all {
		got = append(got, img.ID)
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		l.t.Errorf("images: -want +got\n%s", d)
	}
	found, err := l.store.Layers()
	if err != nil || len(found) != layers {
		l.t.Errorf("%d layers, want %d; %v", len(found), layers, err)
	}
}

func TestWholeStoreStays(t *testing.T) {
	t.Parallel()
	l := leave(t, true)
	enginetest.AddContainer(t, l.store, l.new.ID)
	if damaged := l.recover(); len(damaged) > 0 {
		t.Errorf("damaged: %v", damaged)
	}
	l.holds(5, l.old, l.new)
	if found := written(t, l.store.GraphRoot()); len(found) > 0 {
		t.Errorf("the journal stays: %v", found)
	}
}

func TestDamagedLayersGo(t *testing.T) {
	t.Parallel()
	files := []string{"diff/file", "lower", "link", "../../overlay-layers/SELF.tar-split.gz"}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			l := leave(t, true)
			layer := l.parent(l.new.TopLayer)
			l.spoil(layer, strings.ReplaceAll(file, "SELF", layer))
			if file == "link" { // this one can be mended
				l.recover()
				l.holds(4, l.old, l.new)
				return
			}
			if damaged := l.recover(); len(damaged) > 0 {
				t.Errorf("still damaged: %v", damaged)
			}
			l.holds(2, l.old)
			l.add("new", "a", "c", "d")
			l.holds(4, l.old, l.new)
		})
	}
}

func TestOnlyWhatWasWrittenSinceIsRead(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		power bool
		layer func(l *left) string
	}{
		"older than the clean point": {true, func(l *left) string { return l.old.TopLayer }},
		"the power was on":           {false, func(l *left) string { return l.new.TopLayer }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := leave(t, test.power)
			l.spoil(test.layer(l), "diff/file")
			l.recover()
			l.holds(4, l.old, l.new)
		})
	}
}

func TestDamagedLayerOfAContainer(t *testing.T) {
	t.Parallel()
	l := leave(t, true)
	enginetest.AddContainer(t, l.store, l.new.ID)
	l.spoil(l.new.TopLayer, "diff/file")
	for range 2 { // it is looked at at every start, until it is gone
		damaged := l.recover()
		if !errors.Is(damaged[l.new.TopLayer], errDamaged) {
			t.Errorf("damaged: %v, want %s", damaged, l.new.TopLayer)
		}
	}
	l.holds(5, l.old, l.new)
}

func TestHalfMadeGoes(t *testing.T) {
	t.Parallel()
	l := leave(t, false)
	theirs, err := l.store.CreateLayer("", "", nil, "", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := l.store.CreateLayer("", l.old.TopLayer, nil, "", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	half, err := l.store.CreateImage("", nil, ours.ID, "{}", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.journal.Note(ours.ID, half.ID, l.new.TopLayer, l.new.ID, "never made"); err != nil {
		t.Fatal(err)
	}
	l.recover()
	l.holds(5, l.old, l.new)
	if !l.store.Exists(theirs.ID) {
		t.Error("a layer that another program is making was removed")
	}
}

// TestImageWithoutAName has two whole images without a name: one was to get one, the other one was acknowledged.
func TestImageWithoutAName(t *testing.T) {
	t.Parallel()
	l := leave(t, false)
	half := enginetest.AddImage(t, l.store, enginetest.Image{Layers: []string{"a", "e"}})
	whole, err := l.store.Image(enginetest.AddImage(t, l.store, enginetest.Image{Layers: []string{"a", "f"}}))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.journal.Note(half, whole.ID); err != nil {
		t.Fatal(err)
	}
	l.journal.Settle(whole.ID)
	if err := l.journal.Flush(); err != nil {
		t.Fatal(err)
	}
	l.recover()
	l.holds(5, l.old, l.new, whole)
}

func TestImageWithoutItsDocuments(t *testing.T) {
	t.Parallel()
	l := leave(t, false)
	key := "sha256:" + l.new.ID
	files, err := filepath.Glob(filepath.Join(l.store.GraphRoot(), "overlay-images", l.new.ID, "=*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("the file of %s: %v, %v", key, files, err)
	}
	for _, file := range files {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.recover()
	l.holds(2, l.old)
}

func TestSweep(t *testing.T) {
	t.Parallel()
	l := leave(t, false)
	root := l.store.GraphRoot()
	trial := filepath.Join(root, "overlay", "compat123")
	leftovers := []string{trial, filepath.Join(root, "overlay-layers", ".tmp-layers.json1"), filepath.Join(root, "overlay-images", l.new.ID, ".tmp-x")}
	for _, path := range leftovers {
		if err := os.MkdirAll(filepath.Join(path, "merged"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := mount.Mount("test", filepath.Join(trial, "merged"), "tmpfs", ""); err != nil {
		t.Fatal(err)
	}
	l.recover()
	for _, path := range leftovers {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want it gone", path, err)
		}
	}
	l.holds(4, l.old, l.new)
}

func TestLivingEngineIsLeftAlone(t *testing.T) {
	t.Parallel()
	l := leave(t, true)
	l.spoil(l.new.TopLayer, "diff/file")
	log, _ := logrustest.NewNullLogger()
	r, err := Begin(t.Context(), l.store.GraphRoot(), log)
	if err != nil {
		t.Fatal(err)
	}
	// While one looks through what is left, the next one waits.
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("no patience")
	cancel(reason)
	if _, err := Begin(ctx, l.store.GraphRoot(), log); !errors.Is(err, reason) {
		t.Errorf("a second one: %v, want it to wait", err)
	}
	if _, _, err := r.Finish(t.Context(), l.store); err != nil {
		t.Fatal(err)
	}
	l.holds(4, l.old, l.new)
	l.recover() // now it is gone
	l.holds(2, l.old)
}
