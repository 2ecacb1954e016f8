package interop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// formats are those of Save, by what other programs call them.
var formats = []struct{ save, podman, transport string }{
	{"docker_archive", "docker-archive", "docker-archive"},
	{"oci_archive", "oci-archive", "oci-archive"},
	{"docker_dir", "docker-dir", "dir"},
	{"oci_dir", "oci-dir", "oci"},
}

const archived = "localhost/archived:1"

// others are podman, buildah and skopeo of trixie, with a store of their own.
type others struct {
	*world
	store []string
}

func newOthers(t *testing.T) others {
	t.Helper()
	w := newWorld(t)
	w.Call(t, "io.imaged.images.Tag", w.expand(fmt.Sprintf(`{"name":"$ID","tags":[%q]}`, archived))).Into(t, new(any))
	return others{w, []string{"--root", w.Dir + "/others", "--runroot", w.Dir + "/others-run", "--storage-driver", "overlay"}}
}

// run runs one of them; podman and buildah with their store.
func (o others) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	if program == "skopeo" {
		return o.root.Run(t, program, append([]string{"--insecure-policy"}, args...)...)
	}
	return o.root.Run(t, program, append(slices.Clone(o.store), args...)...)
}

// takeBack removes the image from their store, and fails if it is not the one that was saved.
func (o others) takeBack(t *testing.T, what string) {
	t.Helper()
	if out := o.run(t, "podman", "images", "--quiet", "--no-trunc"); !strings.Contains(out, o.values["ID"]) {
		t.Errorf("%s: podman has %q, want %s", what, out, o.values["ID"])
	}
	o.run(t, "podman", "rmi", "--all", "--force")
}

func TestTrixieProgramsReadWhatSaveWrote(t *testing.T) {
	t.Parallel()
	o := newOthers(t)
	for _, f := range formats {
		path := filepath.Join(o.Dir, f.save)
		in := fmt.Sprintf(`{"names":[%q],"format":%q,"path":%q}`, archived, f.save, path)
		o.Call(t, "io.imaged.transfers.Save", in).Into(t, new(any))
		place := f.transport + ":" + path

		// skopeo checks every digest on the way.
		copied := path + "-copied"
		o.run(t, "skopeo", "copy", place, "dir:"+copied)
		if manifest, err := os.ReadFile(filepath.Join(copied, "manifest.json")); err != nil || !strings.Contains(string(manifest), o.values["ID"]) {
			t.Errorf("skopeo copied from %s: %s, %v", place, manifest, err)
		}
		o.run(t, "podman", "load", "--input", path)
		o.takeBack(t, "podman load of "+f.save)
		o.run(t, "buildah", "pull", place)
		o.takeBack(t, "buildah pull of "+f.save)
	}
}

func TestLoadReadsWhatTrixieProgramsWrote(t *testing.T) {
	t.Parallel()
	o := newOthers(t)
	source := o.expand("docker://$IMAGE")
	o.run(t, "podman", "pull", "--tls-verify=false", source)
	o.run(t, "podman", "tag", o.values["ID"], archived)
	for _, f := range formats {
		place := func(path string) string {
			if f.transport == "docker-archive" {
				path += ":" + archived
			}
			return f.transport + ":" + path
		}
		for program, write := range map[string]func(path string){
			"skopeo":  func(path string) { o.run(t, "skopeo", "copy", "--src-tls-verify=false", source, place(path)) },
			"podman":  func(path string) { o.run(t, "podman", "save", "--format", f.podman, "--output", path, archived) },
			"buildah": func(path string) { o.run(t, "buildah", "push", archived, place(path)) },
		} {
			path := filepath.Join(o.Dir, program+"-"+f.save)
			write(path)
			o.Call(t, "io.imaged.images.Remove", `{"all":true}`)
			var loaded struct{ IDs, Names []string }
			o.Call(t, "io.imaged.transfers.Load", fmt.Sprintf(`{"path":%q}`, path)).Into(t, &loaded)
			if !slices.Equal(loaded.IDs, []string{o.values["ID"]}) {
				t.Errorf("loaded from %s's %s: %+v, want %s", program, f.save, loaded, o.values["ID"])
			}
			if f.save == "docker_archive" && !slices.Equal(loaded.Names, []string{archived}) {
				t.Errorf("names from %s's %s: %v", program, f.save, loaded.Names)
			}
		}
	}
}
