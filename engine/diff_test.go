package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// packFiles makes a layer of files: name and content by turns; a name that ends with a slash is a folder's.
func packFiles(t testing.TB, entries ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(entries); i += 2 {
		name, data := entries[i], entries[i+1]
		h := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(data)), ModTime: enginetest.Epoch, Typeflag: tar.TypeReg}
		if name[len(name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		_, err := w.Write(nil)
		if err = errors.Join(err, w.WriteHeader(h)); err == nil {
			_, err = w.Write([]byte(data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func diff(t testing.TB, e *Engine, name, other string) []string {
	t.Helper()
	var all []string
	for c, err := range e.Diff(t.Context(), name, DiffOptions{Other: other}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprint(c.Kind, " ", c.Path))
	}
	return all
}

func TestDiff(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	base := packFiles(t, "etc/", "", "etc/passwd", "root", "etc/motd", "hi", "bin/", "", "bin/sh", "#!")
	child := packFiles(t, "etc/", "", "etc/passwd", "toor", "etc/.wh.motd", "", "opt/", "", "opt/\xff", "x")
	enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/base:latest"}, Tars: [][]byte{base}})
	enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/child:latest"}, Tars: [][]byte{base, child}, Platform: hostPlatform()})
	enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/other:latest"}, Tars: [][]byte{packFiles(t, "bin/", "", "bin/sh", "#!")}})
	list := enginetest.AddImage(t, store, enginetest.Image{Tars: [][]byte{base, child}, Empty: 1, Platform: hostPlatform()})
	enginetest.AddList(t, store, []string{"localhost/list:latest"}, list)
	changed := []string{"changed /etc", "deleted /etc/motd", "changed /etc/passwd", "added /opt", "added /opt/\uFFFD"}
	tests := map[[2]string][]string{
		{"child", ""}:      changed,
		{"list", ""}:       changed,
		{"child", "base"}:  changed,
		{"base", "child"}:  {"changed /etc", "added /etc/motd", "changed /etc/passwd", "deleted /opt"},
		{"base", ""}:       {"added /bin", "added /bin/sh", "added /etc", "added /etc/motd", "added /etc/passwd"},
		{"base", "base"}:   nil,
		{"other", "base"}:  {"deleted /etc"},
		{"child", "other"}: {"added /etc", "added /etc/passwd", "added /opt", "added /opt/\uFFFD"},
	}
	compare := func(what string) {
		for names, want := range tests {
			if d := cmp.Diff(want, diff(t, e, names[0], names[1])); d != "" {
				t.Errorf("%s: Diff(%q):\n%s", what, names, d)
			}
		}
	}
	compare("from the headers")
	kept, err := filepath.Glob(filepath.Join(store.GraphRoot(), "overlay-layers", "*.tar-split.gz"))
	if err != nil || len(kept) != 3 {
		t.Fatalf("headers: %q, %v", kept, err)
	}
	if err := os.Remove(kept[0]); err != nil {
		t.Fatal(err)
	}
	for names := range tests {
		for c, err := range e.Diff(t.Context(), names[0], DiffOptions{Other: names[1]}) {
			if err != nil {
				t.Errorf("without headers: Diff(%q) = %v, %v", names, c, err)
			}
		}
	}
}

func TestDiffErrors(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	id := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"1", "2"}})
	last := func(ctx context.Context, name, other string) (err error) {
		for _, err = range e.Diff(ctx, name, DiffOptions{Other: other}) {
			continue
		}
		return err
	}
	wantError(t, "an unknown image", last(t.Context(), "nothing", ""), "ImageNotFound")
	wantError(t, "another unknown image", last(t.Context(), "a", "nothing"), "ImageNotFound")
	wantError(t, "no name", last(t.Context(), "a b", ""), "InvalidReference")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, "after the end", last(ctx, "a", ""), "Cancelled")
	n := 0
	ctx, cancel = context.WithCancel(t.Context())
	for _, err := range e.Diff(ctx, "a", DiffOptions{}) {
		if cancel(); n > 0 {
			wantError(t, "in the middle", err, "Cancelled")
		}
		n++
	}
	unlock, err := e.lockImage(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel = context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() { waiting <- last(ctx, "a", "") }()
	cancel()
	wantError(t, "while it is locked", <-waiting, "Cancelled")
}

func TestDiffOfADamagedLayer(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"1"}})
	kept, err := filepath.Glob(filepath.Join(store.GraphRoot(), "overlay-layers", "*.tar-split.gz"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("headers: %q, %v", kept, err)
	}
	if err := os.Truncate(kept[0], 20); err != nil {
		t.Fatal(err)
	}
	for _, err := range e.Diff(t.Context(), "a", DiffOptions{}) {
		wantError(t, "Diff", err, "Failed")
	}
}

func TestDiffsAtOnce(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"1"}})
	most := e.imageLimits.Diffs
	var nested func(n int64)
	nested = func(n int64) {
		for _, err := range e.Diff(t.Context(), "a", DiffOptions{}) {
			limit, ok := errors.AsType[*errdefs.LimitExceeded](err)
			switch {
			case n == most && (!ok || limit.Limit != LimitDiffs):
				t.Errorf("one too many: %v", err)
			case n < most && err != nil:
				t.Error(err)
			case n < most:
				nested(n + 1)
			}
		}
	}
	nested(0)
	diff(t, e, "a", "")
}
