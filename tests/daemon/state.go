package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// PID is the daemon's process.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

func (d *Daemon) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(d.PID()), name)
}

// Descriptors is how many descriptors the daemon has open.
func (d *Daemon) Descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir(d.proc("fd"))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Memory is how much of the machine's memory the daemon's own data occupy, in bytes.
func (d *Daemon) Memory(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile(d.proc("status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

// Children are the processes that the daemon has started and that have not ended, zombies included.
func (d *Daemon) Children(t testing.TB) []int {
	t.Helper()
	var all []int
	tasks, err := filepath.Glob(d.proc("task/*/children"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, pid)
		}
	}
	return all
}

// Mounts are the mount points below the daemon's home, as it sees them.
func (d *Daemon) Mounts(t testing.TB) []string {
	t.Helper()
	mounts, err := mountsBelow(d.proc("mountinfo"), d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return mounts
}

func mountsBelow(table, dir string) ([]string, error) {
	text, err := os.ReadFile(table)
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if point := strings.Fields(line)[4]; strings.HasPrefix(point, dir+"/") {
			all = append(all, point)
		}
	}
	return all, nil
}

// unmountBelow takes away the mounts that storage drivers leave for the next program.
func unmountBelow(dir string) error {
	points, err := mountsBelow("/proc/self/mountinfo", dir)
	errs := []error{err}
	for _, point := range points {
		errs = append(errs, syscall.Unmount(point, syscall.MNT_DETACH))
	}
	return errors.Join(errs...)
}

// Temporary are the files below the folders for temporary files, of the daemon and of the store, that hold anything.
func (d *Daemon) Temporary(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{d.Tmp, filepath.Join(d.Root, "tmp"), filepath.Join(d.Root, "overlay", "staging"), filepath.Join(d.Root, "overlay", "tempdirs")} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err == nil && !e.IsDir() && e.Name() != ".keep" && !strings.HasSuffix(e.Name(), "lock"):
				all = append(all, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Layers are the ids of the layers that lie in the store's folder, complete or not.
func (d *Daemon) Layers(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.Root, "overlay"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if len(e.Name()) == 64 {
			all = append(all, e.Name())
		}
	}
	return all
}

// Await waits until a condition holds that nothing tells of.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// Quiet waits until the daemon has no child and no temporary file, and returns an error that says what there still is.
func (d *Daemon) Quiet(t testing.TB) error {
	t.Helper()
	end := time.Now().Add(Patience)
	for {
		children, files := d.Children(t), d.Temporary(t)
		if len(children)+len(files) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("children %v, temporary files %q", children, files)
		}
		time.Sleep(time.Millisecond)
	}
}
