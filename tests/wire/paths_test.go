package wire_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imaged-project/imaged/tests/daemon"
)

// pathCalls are calls that name a path on the daemon's host, one for each place of the interfaces where that is possible.
// $OUT stands for a path where nothing is.
func pathCalls() map[string]string {
	calls := map[string]string{
		`{"names":["$IMAGE"],"path":"$OUT"}`:                      "Save",
		`{"names":["$IMAGE"],"path":"$OUT","format":"oci_dir"}`:   "Save",
		`{"path":"$DIR/archive.tar"}`:                             "Load",
		`{"path":"$DIR"}`:                                         "Load",
		`{"path":"$DIR/rootfs.tar"}`:                              "Import",
		`{"path":"/etc/shadow","name":"localhost/imported:path"}`: "Import",
	}
	for _, transport := range []string{"docker-archive", "oci-archive", "oci", "dir"} {
		calls[fmt.Sprintf(`{"reference":"%s:$DIR/archive.tar"}`, transport)] = "Pull"
		calls[fmt.Sprintf(`{"name":"$IMAGE","destination":"%s:$OUT"}`, transport)] = "Push"
		calls[fmt.Sprintf(`{"source":"%s:$DIR/archive.tar","destination":"containers-storage:localhost/copied:1"}`, transport)] = "Copy"
		calls[fmt.Sprintf(`{"source":"containers-storage:$IMAGE","destination":"%s:$OUT"}`, transport)] = "Copy"
	}
	return calls
}

// Only the daemon's own user may name a path: it is opened with the daemon's rights. Others are told so before anything is
// looked at, so that they do not learn either what is there.
func TestPathsOfOtherUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(t)
	archive(t, w)
	out := filepath.Join(daemon.Home(t), "out")
	w.values["OUT"] = out
	nobody := w.dialAs(t, daemon.Nobody)
	for in, method := range pathCalls() {
		for _, flags := range [][]string{nil, {"more"}} {
			r := nobody.Call(t, "io.imaged.transfers."+method, w.expand(in), flags...)
			if r.Error != permissionDenied || string(r.Parameters) != "{}" {
				t.Errorf("nobody calls %s %s: %s", method, in, r.Raw)
			}
		}
	}
	// What is no transport of ours may name a path, too; and a store may be named by its folder.
	for _, place := range []string{
		"containers-storage:[vfs@$DIR/root+$DIR/run]localhost/x", "containers-storage:[$DIR/root]localhost/x", "tarball:/etc/passwd", "sif:/etc/passwd",
		"docker-daemon:localhost/x:1", "ostree:x@/ostree", "file:///etc/passwd", "/etc/passwd", "./x", "../x",
	} {
		for in, method := range map[string]string{
			`{"reference":%q}`:                              "Pull",
			`{"name":"$IMAGE","destination":%q}`:            "Push",
			`{"source":%q,"destination":"dir:$OUT"}`:        "Copy",
			`{"source":"docker://$IMAGE","destination":%q}`: "Copy",
			`{"url":%q}`: "Import",
		} {
			r := nobody.Call(t, "io.imaged.transfers."+method, w.expand(fmt.Sprintf(in, place)))
			switch r.Error {
			case permissionDenied, "io.imaged.transfers.InvalidReference", "org.varlink.service.InvalidParameter":
			default:
				t.Errorf("nobody calls %s with %s: %s", method, place, r.Raw)
			}
		}
	}
	if _, err := os.Lstat(out); !os.IsNotExist(err) {
		t.Errorf("something was made: %v", err)
	}
	// The daemon's own user may.
	own := w.Dial(t)
	for in, method := range pathCalls() {
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
		if r := own.Call(t, "io.imaged.transfers."+method, w.expand(in)); r.Error == permissionDenied {
			t.Errorf("the daemon's user calls %s %s: %s", method, in, r.Raw)
		}
	}
}

// Save makes a new file or folder, and never touches what is there already, whatever it is.
func TestSaveTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := daemon.Home(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{"file": "text", "other": "other"} {
		if err := os.WriteFile(path(name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Mkdir(path("folder"), 0o750), os.Link(path("other"), path("hardlink")), os.Symlink("file", path("link")),
		os.Symlink(path("nothing"), path("dangling")), os.Symlink("folder", path("folderlink")), mkfifo(path("fifo")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, dir)
	for _, target := range []string{
		path("file"), path("folder"), path("hardlink"), path("link"), path("dangling"), path("folderlink"), path("folderlink") + "/", path("fifo"),
		path("nowhere/out"), path("file/out"), dir, dir + "/.", dir + "/..", "/", ".", "", "relative", "/dev/null", "/dev/zero", "/dev/full", "/proc/self/mem",
		"/proc/self/fd/1", "/proc/self/root/" + dir + "/file", "/proc/self/new", "/proc/new", "/sys/new", "/sys/kernel/uevent_helper", path("a\x00b"),
		path(strings.Repeat("long", 100)),
	} {
		for _, format := range []string{"docker_archive", "oci_archive", "docker_dir", "oci_dir"} {
			text, err := json.Marshal(target)
			if err != nil {
				t.Fatal(err)
			}
			r := w.Call(t, "io.imaged.transfers.Save", w.expand(fmt.Sprintf(`{"names":["$IMAGE"],"format":%q,"path":%s}`, format, text)))
			if r.Error != "org.varlink.service.InvalidParameter" {
				t.Errorf("save %s to %q: %s", format, target, r.Raw)
			}
		}
	}
	if after := tree(t, dir); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
	if err := w.Quiet(t); err != nil {
		t.Error(err)
	}
}

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// tree tells what a folder holds, with modes, link targets and the content of files.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		var content []byte
		switch {
		case info.Mode().IsRegular():
			content, err = os.ReadFile(path)
		case info.Mode()&os.ModeSymlink != 0:
			var to string
			to, err = os.Readlink(path)
			content = []byte(to)
		}
		fmt.Fprintf(&b, "%s %s %q\n", info.Mode(), path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
