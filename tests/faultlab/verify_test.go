package faultlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containers/storage"
	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/varlink"
)

// verify restarts the daemon after a fault, which is over by now, and holds the invariants:
//
//	the daemon starts within five seconds without help, and answers;
//	an operation that was acknowledged is there, one that was not is there or not at all;
//	the store is sound, each image has the files of its layers, and nothing is left that no image uses;
//	no temporary files, no mounts, no children, no more open files than before;
//	podman and skopeo read the store;
//	the same call succeeds, and after it the store is sound again;
//	the daemon ends well and leaves nothing behind.
func (l *lab) verify(op *operation, acked bool) {
	t := l.t
	t.Helper()
	if l.daemon != nil && l.daemon.alive() {
		must(t, l.daemon.stop())
	}
	l.start()
	if l.daemon.took > 5*time.Second {
		t.Errorf("start took %v", l.daemon.took)
	}
	after := l.after(op)
	found := l.list()
	switch {
	case cmp.Equal(found, after):
	case acked:
		t.Errorf("acknowledged, but not so: -want +got\n%s", cmp.Diff(after, found))
	case !cmp.Equal(found, l.before):
		t.Errorf("neither done nor undone: -before +got\n%s", cmp.Diff(l.before, found))
	}
	l.sound()
	l.foreign()
	files, _, err := l.daemon.descriptors()
	must(t, err)
	if op.again != nil && cmp.Equal(found, after) {
		must(t, l.call(op.again))
	}
	if err := l.call(op.call); err != nil {
		t.Errorf("once more: %v", err)
	}
	if d := cmp.Diff(after, l.list()); d != "" {
		t.Errorf("once more: -want +got\n%s", d)
	}
	l.sound()
	now, children, err := l.daemon.descriptors()
	must(t, err)
	if now > files+4 || len(children) > 0 { // a connection that is just closing, and what the runtime polls with
		t.Errorf("%d files are open, there were %d; children: %v", now, files, children)
	}
	must(t, l.daemon.stop())
	l.empty()
}

// after is the state after an operation.
func (l *lab) after(op *operation) state {
	s := state{}
	for name, id := range l.before {
		s[name] = id
	}
	op.after(l.before, s)
	return s
}

// list returns what the daemon says is there.
func (l *lab) list() (s state) {
	l.t.Helper()
	must(l.t, l.call(func(ctx context.Context, c *varlink.Client) (err error) {
		s, err = list(ctx, c)
		return err
	}))
	return s
}

// sound checks the store from outside, and that nothing temporary lies around.
func (l *lab) sound() {
	l.t.Helper()
	self, err := os.Executable()
	must(l.t, err)
	cmd := exec.Command(self, l.root(), l.runRoot())
	cmd.Env = append(os.Environ(), checkVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		l.t.Errorf("the store is not sound: %v\n%s", err, out)
	}
	must(l.t, filepath.WalkDir(filepath.Join(l.disk.path, "tmp"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			l.t.Errorf("temporary file left: %s", path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}))
	for _, pattern := range []string{"overlay/staging/*", "overlay/tempdirs/*", "overlay-layers/tmp/*", "overlay-*/.tmp-*", "imaged/*/record.json.*"} {
		found, err := filepath.Glob(filepath.Join(l.root(), pattern))
		must(l.t, err)
		found = slices.DeleteFunc(found, func(path string) bool { return strings.HasSuffix(path, ".lock") })
		if len(found) > 0 {
			l.t.Errorf("temporary files left: %v", found)
		}
	}
}

// foreign lets other programs read the store.
func (l *lab) foreign() {
	l.t.Helper()
	if !world.full && l.op.name != "pull" {
		return
	}
	if _, err := exec.LookPath("podman"); err == nil {
		if err := command("podman", "--root", l.root(), "--runroot", l.runRoot(), "--storage-driver", "overlay", "images", "-a"); err != nil {
			l.t.Error(err)
		}
	}
	if _, err := exec.LookPath("skopeo"); err == nil && world.full {
		for name, id := range l.list() {
			to, image := filepath.Join(l.dir, "copy"), "@"+id
			if id == anyID {
				image = name
			}
			from := fmt.Sprintf("containers-storage:[overlay@%s+%s]%s", l.root(), l.runRoot(), image)
			if err := command("skopeo", "--insecure-policy", "copy", "-q", from, "dir:"+to); err != nil {
				l.t.Error(err)
			}
			must(l.t, os.RemoveAll(to))
		}
	}
}

// empty looks for what a daemon that ended has left.
func (l *lab) empty() {
	l.t.Helper()
	points, err := mountsBelow(l.root())
	must(l.t, err)
	if len(points) > 0 {
		l.t.Errorf("still mounted: %v", points)
	}
	for _, pattern := range []string{filepath.Join(l.disk.path, "tmp", "*"), filepath.Join(l.root(), "imaged", "*")} {
		left, err := filepath.Glob(pattern)
		must(l.t, err)
		if len(left) > 0 {
			l.t.Errorf("left behind: %v", left)
		}
	}
}

// checkMain checks a store in a process of its own, so that nothing of it stays open here. It prints what is wrong.
func checkMain(root, runRoot string) int {
	store, err := storage.GetStore(storage.StoreOptions{GraphRoot: root, RunRoot: runRoot, GraphDriverName: "overlay"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	problems, err := check(store)
	for _, p := range problems {
		fmt.Println(p)
	}
	if _, e := store.Shutdown(false); e != nil {
		err = errors.Join(err, e)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func check(store storage.Store) (problems []error, err error) {
	options := storage.CheckEverything()
	options.LayerUnreferencedMaximumAge = new(time.Duration(0))
	report, err := store.Check(options)
	if err != nil {
		return nil, err
	}
	for _, found := range []map[string][]error{report.Layers, report.Images, report.Containers} {
		for _, errs := range found {
			problems = append(problems, errs...)
		}
	}
	images, err := store.Images()
	if err != nil {
		return nil, err
	}
	for _, img := range images {
		if err := checkImage(store, &img); err != nil {
			problems = append(problems, fmt.Errorf("image %s: %w", img.ID, err))
		}
	}
	return problems, nil
}

// checkImage compares the layers of an image with its configuration.
func checkImage(store storage.Store, img *storage.Image) error {
	data, err := store.ImageBigData(img.ID, "sha256:"+img.ID)
	if err != nil {
		return err
	}
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return err
	}
	var found []string
	for id := img.TopLayer; id != ""; {
		layer, err := store.Layer(id)
		if err != nil {
			return err
		}
		found, id = append(found, layer.UncompressedDigest.String()), layer.Parent
	}
	slices.Reverse(found)
	if !slices.Equal(found, config.RootFS.DiffIDs) {
		return fmt.Errorf("its layers are %v, its configuration says %v", found, config.RootFS.DiffIDs)
	}
	return nil
}
