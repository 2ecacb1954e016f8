package engine_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/archives/archivetest"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// sentinel is a folder of the host that nothing may change. It lies where the folders for temporary files and
// for the store lie, so that a few .. lead into it.
type sentinel struct {
	dir    string
	before map[string]string
}

// newSentinel puts files around the engine's folders.
func newSentinel(t testing.TB, p puller) sentinel {
	t.Helper()
	s := sentinel{dir: filepath.Dir(p.dirs.Root)}
	for _, name := range []string{"victim", "secrets/victim", "secrets/key"} {
		path := filepath.Join(s.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("do not touch "+name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s.before = s.look(t, p)
	return s
}

// look describes every file outside the engine's own folders.
func (s sentinel) look(t testing.TB, p puller) map[string]string {
	t.Helper()
	own := []string{p.dirs.Root, p.dirs.RunRoot, p.dirs.Tmp}
	all := map[string]string{}
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains(own, path) {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum := ""
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%x %s", sha256.Sum256(data), info.ModTime())
		}
		all[path] = info.Mode().String() + sum
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (s sentinel) check(t testing.TB, p puller) {
	t.Helper()
	if diff := cmp.Diff(s.before, s.look(t, p)); diff != "" {
		t.Errorf("the host was changed (-before +after):\n%s", diff)
	}
}

// upload loads an archive from a descriptor.
func (p puller) upload(t testing.TB, data []byte) (engine.LoadResult, error) {
	t.Helper()
	return p.load(t, engine.LoadOptions{Input: archivetest.WriteFile(t, data)})
}

// TestLoadDoesNotUnpackArchives holds the chain of CVE-2025-11395 against every way into Load.
func TestLoadDoesNotUnpackArchives(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	s := newSentinel(t, p)
	chain := []archivetest.Entry{{Name: "s", Type: tar.TypeSymlink, Link: "."}}
	for _, up := range []string{"..", "../..", "../../..", "../../../.."} {
		name := "up" + strings.ReplaceAll(up, "/", "")
		chain = append(chain,
			archivetest.Entry{Name: "s/s/s/s/" + name, Type: tar.TypeSymlink, Link: up},
			archivetest.Entry{Name: name + "/victim", Data: []byte("pwned")},
			archivetest.Entry{Name: name + "/secrets/victim", Data: []byte("pwned")})
	}
	img := twoLayers(t, "x", "localhost/x:1")
	for kind, entries := range map[string][]archivetest.Entry{
		"oci": archivetest.OCI(t, img), "docker": archivetest.Docker(t, img), "dir": archivetest.DockerDir(t, img), "nothing": nil,
	} {
		for _, all := range [][]archivetest.Entry{slices.Concat(chain, entries), slices.Concat(entries, chain)} {
			data := archivetest.Tar(t, all...)
			for _, compression := range []string{"", "gzip"} {
				packed := archivetest.Compress(t, compression, data)
				_, file := p.upload(t, packed)
				_, pipe := p.load(t, engine.LoadOptions{Input: archivetest.Pipe(t, packed)})
				_, path := p.load(t, engine.LoadOptions{Path: archivetest.WriteFile(t, packed).Name(), AllowPath: true})
				for way, err := range map[string]error{"file": file, "pipe": pipe, "path": path} {
					// In a docker-archive a link that nobody asks for is left alone; nothing is made of it.
					if kind != "docker" && errdefs.Name(err) != "InvalidArchive" {
						t.Errorf("%s, %s: %v", kind, way, err)
					}
				}
			}
		}
		s.check(t, p)
	}
}

// hostileLayers are layers that try to get out of the image.
func hostileLayers(outside string) map[string][]archivetest.Entry {
	victim := filepath.Join(outside, "victim")
	return map[string][]archivetest.Entry{
		"parent name":           {{Name: "../victim", Data: []byte("x")}},
		"deep parent name":      {{Name: "a/../../../victim", Data: []byte("x")}},
		"absolute name":         {{Name: victim, Data: []byte("x")}},
		"parent folder":         {{Name: "..", Type: tar.TypeDir, Mode: 0o777}},
		"through a link":        {{Name: "l", Type: tar.TypeSymlink, Link: outside}, {Name: "l/victim", Data: []byte("x")}},
		"through a parent link": {{Name: "l", Type: tar.TypeSymlink, Link: "../../../../../.."}, {Name: "l" + victim, Data: []byte("x")}},
		"CVE-2025-11395": {
			{Name: "s", Type: tar.TypeSymlink, Link: "."},
			{Name: "s/s/s/up", Type: tar.TypeSymlink, Link: "../../.."},
			{Name: "up/victim", Data: []byte("x")},
		},
		"hard link":                {{Name: "h", Type: tar.TypeLink, Link: victim}, {Name: "h", Data: []byte("x")}},
		"hard link through a link": {{Name: "l", Type: tar.TypeSymlink, Link: outside}, {Name: "h", Type: tar.TypeLink, Link: "l/victim"}, {Name: "h", Data: []byte("x")}},
		"whiteout outside":         {{Name: "../.wh.victim"}},
		"whiteout through a link":  {{Name: "l", Type: tar.TypeSymlink, Link: outside}, {Name: "l/.wh.victim"}},
		"whiteout of nothing":      {{Name: ".wh."}},
		"whiteout of the parent":   {{Name: ".wh..."}},
		"opaque link":              {{Name: "l", Type: tar.TypeSymlink, Link: outside}, {Name: "l/.wh..wh..opq"}},
		"root is a link":           {{Name: "./", Type: tar.TypeSymlink, Link: outside}, {Name: "victim", Data: []byte("x")}},
		"root is a file":           {{Name: ".", Data: []byte("x")}},
		"file in a file":           {{Name: "f\x1b[1m", Data: []byte("x")}, {Name: "f\x1b[1m/g", Data: []byte("x")}},
		"long path":                {{Name: strings.Repeat("d/", 4096) + "f", Data: []byte("x")}},
		"device and setuid":        {{Name: "null", Type: tar.TypeChar}, {Name: "su", Mode: 0o4755, Data: []byte("x")}},
	}
}

// TestLoadKeepsLayersInside loads images with such layers. Whether one is taken or not: nothing outside changes, and
// what is refused leaves nothing.
func TestLoadKeepsLayersInside(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	s := newSentinel(t, p)
	for name, entries := range hostileLayers(filepath.Join(s.dir, "secrets")) {
		for _, layers := range [][][]byte{
			{archivetest.Tar(t, entries...)},
			{archivetest.Tar(t, entries[:1]...), archivetest.Tar(t, entries[1:]...)}, // in the layer below
		} {
			img := archivetest.Image{Layers: layers, Compression: "gzip"}
			result, err := p.upload(t, archivetest.Tar(t, archivetest.OCI(t, img)...))
			s.check(t, p)
			if err != nil {
				if errdefs.Name(err) != "InvalidArchive" || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("%s: %q", name, err)
				}
				p.wantNothing(t)
				continue
			}
			if _, err := p.Remove(t.Context(), result.IDs, engine.RemoveOptions{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			p.wantNothing(t)
		}
	}
	noDevices(t, p.dirs.Tmp)
}

func noDevices(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeDevice != 0 {
			t.Errorf("%s is a device", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestLoadRefusesLies loads archives whose digests are wrong, in every place where there is one.
func TestLoadRefusesLies(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	honest := twoLayers(t, "honest", "localhost/victim:1")
	kept, err := p.upload(t, archivetest.Tar(t, archivetest.OCI(t, honest)...))
	if err != nil {
		t.Fatal(err)
	}
	images, layers := p.Store().Images, p.Store().Layers
	before, err := layers()
	if err != nil {
		t.Fatal(err)
	}
	lying := twoLayers(t, "lying", "localhost/victim:1")
	oci, docker := archivetest.OCI(t, lying), archivetest.Docker(t, lying)
	flip := func(entries []archivetest.Entry, which int, at int) []archivetest.Entry {
		entries = slices.Clone(entries)
		data := bytes.Clone(entries[which].Data)
		data[at] ^= 1
		entries[which].Data = data
		return entries
	}
	for name, entries := range map[string][]archivetest.Entry{
		"top layer":                  flip(oci, 3, 1100),
		"base layer's padding":       flip(archivetest.OCI(t, twoLayersOf(t, "other", "lying")), 2, len(oci[2].Data)-1),
		"configuration":              flip(oci, 1, 30),
		"manifest":                   flip(oci, 0, 30),
		"docker layer":               flip(docker, 1, 1100),
		"another DiffID":             diffIDs(t, lying),
		"another layer of same size": swapped(t, docker),
	} {
		_, err := p.upload(t, archivetest.Tar(t, entries...))
		if errdefs.Name(err) != "InvalidArchive" {
			t.Errorf("%s: %v", name, err)
		}
		p.idle(t)
		if now, err := images(); err != nil || len(now) != 1 || now[0].ID != kept.IDs[0] || !slices.Equal(now[0].Names, honest.Names) {
			t.Errorf("%s: images are %+v, %v", name, now, err)
		}
		if now, err := layers(); err != nil || len(now) != len(before) {
			t.Errorf("%s: %d layers, %v", name, len(now), err)
		}
	}
	checkStore(t, p)
}

// twoLayersOf is twoLayers with another base.
func twoLayersOf(t testing.TB, base, text string) archivetest.Image {
	return archivetest.Image{Layers: [][]byte{archivetest.Layer(t, base), archivetest.Layer(t, text)}}
}

// diffIDs makes an OCI layout in which all is as its digest says, but the configuration names another layer.
func diffIDs(t testing.TB, img archivetest.Image) []archivetest.Entry {
	t.Helper()
	entries := archivetest.OCI(t, img)
	config := strings.Replace(string(entries[1].Data), digest.FromBytes(img.Layers[1]).String(), digest.FromString("another").String(), 1)
	m := strings.Replace(string(entries[0].Data), digest.FromBytes(entries[1].Data).String(), digest.FromString(config).String(), 1)
	index := strings.Replace(string(entries[len(entries)-1].Data), digest.FromBytes(entries[0].Data).String(), digest.FromString(m).String(), 1)
	entries[0] = archivetest.Entry{Name: "blobs/sha256/" + digest.FromString(m).Encoded(), Data: []byte(m)}
	entries[1] = archivetest.Entry{Name: "blobs/sha256/" + digest.FromString(config).Encoded(), Data: []byte(config)}
	entries[len(entries)-1].Data = []byte(index)
	return entries
}

// swapped makes a docker-archive whose two layers are in each other's place.
func swapped(t testing.TB, entries []archivetest.Entry) []archivetest.Entry {
	t.Helper()
	entries = slices.Clone(entries)
	entries[0].Data, entries[1].Data = entries[1].Data, entries[0].Data
	return entries
}

func TestLoadTakesAllOrNothing(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	old := twoLayers(t, "old", "localhost/a:1")
	if _, err := p.upload(t, archivetest.Tar(t, archivetest.OCI(t, old)...)); err != nil {
		t.Fatal(err)
	}
	a, b, c := twoLayers(t, "a", "localhost/a:1"), twoLayers(t, "b", "localhost/b:1"), twoLayers(t, "c", "localhost/c:1")
	entries := archivetest.Docker(t, a, b, c)
	bad := slices.Clone(entries)
	for i, e := range bad {
		if e.Name == digest.FromBytes(b.Layers[1]).Encoded()+".tar" {
			bad[i].Data = slices.Concat(e.Data[:1024], []byte("X"), e.Data[1025:])
		}
	}
	if _, err := p.upload(t, archivetest.Tar(t, bad...)); errdefs.Name(err) != "InvalidArchive" {
		t.Fatalf("error is %v", err)
	}
	p.idle(t)
	if images, err := p.Store().Images(); err != nil || len(images) != 1 || images[0].ID != archivetest.ID(t, old) || len(images[0].Names) != 1 {
		t.Errorf("after the failure: %+v, %v", images, err)
	}
	got, err := p.upload(t, archivetest.Tar(t, entries...))
	want := engine.LoadResult{
		IDs:   []string{archivetest.ID(t, a), archivetest.ID(t, b), archivetest.ID(t, c)},
		Names: []string{"localhost/a:1", "localhost/b:1", "localhost/c:1"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("the same call then: %v\n%s", err, diff)
	}
	if names := p.image(t, archivetest.ID(t, old)).Names; len(names) > 0 {
		t.Errorf("the name did not move: %v", names)
	}
	checkStore(t, p)
}

func TestLoadNames(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	plain := twoLayers(t, "plain")
	id := archivetest.ID(t, plain)
	data := archivetest.Tar(t, archivetest.OCI(t, plain)...)
	got, err := p.upload(t, data)
	if diff := cmp.Diff(engine.LoadResult{IDs: []string{id}, Names: []string{"sha256:" + id}}, got); err != nil || diff != "" {
		t.Errorf("without a name: %v\n%s", err, diff)
	}
	got, err = p.load(t, engine.LoadOptions{Input: archivetest.WriteFile(t, data), Name: "mine"})
	if diff := cmp.Diff(engine.LoadResult{IDs: []string{id}, Names: []string{"localhost/mine:latest"}}, got); err != nil || diff != "" {
		t.Errorf("with a name: %v\n%s", err, diff)
	}
	two := archivetest.Tar(t, archivetest.Docker(t, plain, twoLayers(t, "other"))...)
	_, several := p.load(t, engine.LoadOptions{Input: archivetest.WriteFile(t, two), Name: "mine"})
	_, invalid := p.load(t, engine.LoadOptions{Input: archivetest.WriteFile(t, data), Name: "M I N E"})
	_, none := p.load(t, engine.LoadOptions{})
	_, both := p.load(t, engine.LoadOptions{Input: archivetest.WriteFile(t, data), Path: "/x", AllowPath: true})
	_, denied := p.load(t, engine.LoadOptions{Path: archivetest.WriteFile(t, data).Name()})
	_, missing := p.load(t, engine.LoadOptions{Path: "/nowhere/archive", AllowPath: true})
	_, device := p.load(t, engine.LoadOptions{Path: "/dev/zero", AllowPath: true})
	for _, c := range []struct {
		err  error
		want string
	}{
		{several, "InvalidParameter"},
		{invalid, "InvalidReference"},
		{none, "InvalidParameter"},
		{both, "InvalidParameter"},
		{denied, "PermissionDenied"},
		{missing, "InvalidParameter"},
		{device, "InvalidArchive"},
	} {
		if errdefs.Name(c.err) != c.want {
			t.Errorf("want %s, got %v", c.want, c.err)
		}
	}
}

func TestLoadObeysThePolicy(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	img := twoLayers(t, "x", "localhost/x:1")
	for transport, entries := range map[string][]archivetest.Entry{
		"docker-archive": archivetest.Docker(t, img), "oci-archive": archivetest.OCI(t, img), "dir": archivetest.DockerDir(t, img),
	} {
		policy := `{"default":[{"type":"insecureAcceptAnything"}],"transports":{"` + transport + `":{"":[{"type":"reject"}]}}}`
		writeFile(t, filepath.Join(p.dirs.Config, "policy.json"), policy)
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.upload(t, archivetest.Tar(t, entries...)); errdefs.Name(err) != "PolicyRejected" {
			t.Errorf("%s: %v", transport, err)
		}
		p.wantNothing(t)
	}
}

func TestLoadDoesNotCopyAFile(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	img := twoLayers(t, "x", "localhost/x:1")
	f := archivetest.WriteFile(t, slices.Concat([]byte("before it"), archivetest.Tar(t, archivetest.OCI(t, img)...)))
	if _, err := f.Seek(int64(len("before it")), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	w, err := p.Load(t.Context(), engine.LoadOptions{Input: f})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for u, err := range w.Updates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Progress == nil {
			continue
		}
		for _, b := range u.Progress.Blobs {
			if b.Digest == "upload" {
				t.Error("it was written down")
			}
		}
	}
	if _, err := w.Result(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLoadCancelled(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	r, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	data := archivetest.Tar(t, archivetest.OCI(t, twoLayers(t, "x"))...)
	if _, err := feed.Write(data[:len(data)/2]); err != nil {
		t.Fatal(err)
	}
	w, err := p.Load(t.Context(), engine.LoadOptions{Input: r})
	if err != nil {
		t.Fatal(err)
	}
	w.Close() // nobody watches any more
	if _, err := w.Result(t.Context()); errdefs.Name(err) != "Cancelled" {
		t.Errorf("error is %v", err)
	}
	p.wantNothing(t)
}

func TestLoadJunk(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	good := archivetest.Compress(t, "gzip", archivetest.Tar(t, archivetest.OCI(t, twoLayers(t, "x"))...))
	for name, data := range map[string][]byte{
		"nothing": {}, "text": []byte("this is no archive"), "zeros": make([]byte, 10240), "gzip magic": []byte("\x1f\x8b\x08"),
		"gzip of text": archivetest.Compress(t, "gzip", []byte("text")), "gzip without trailer": good[:len(good)-8],
		"gzip with wrong sum": slices.Concat(good[:len(good)-8], []byte("12345678")), "trailing junk": slices.Concat(good, []byte("junk")),
		"zstd magic": []byte("\x28\xb5\x2f\xfd"), "xz magic": []byte("\xfd7zXZ\x00"), "bzip2 magic": []byte("BZh91AY"),
	} {
		for way, in := range map[string]*os.File{"file": archivetest.WriteFile(t, data), "pipe": archivetest.Pipe(t, data)} {
			if _, err := p.load(t, engine.LoadOptions{Input: in}); errdefs.Name(err) != "InvalidArchive" {
				t.Errorf("%s from a %s: %v", name, way, err)
			}
		}
	}
	p.wantNothing(t)
	// Two streams one after the other are one.
	whole := archivetest.Tar(t, archivetest.OCI(t, twoLayers(t, "x"))...)
	joined := slices.Concat(archivetest.Compress(t, "gzip", whole[:1000]), archivetest.Compress(t, "gzip", whole[1000:]))
	if _, err := p.upload(t, joined); err != nil {
		t.Errorf("joined streams: %v", err)
	}
}

// What is too big for the limits stops there, in the layers, too.
func TestLoadBomb(t *testing.T) {
	t.Parallel()
	p := openPuller(t, func(o *engine.Options) { o.Archives = archives.Limits{LayerBytes: 4 << 20} })
	bomb := archivetest.Image{Compression: "zstd", Layers: [][]byte{archivetest.Tar(t, archivetest.Entry{Name: "z", Data: make([]byte, 16<<20)})}}
	for kind, entries := range map[string][]archivetest.Entry{"oci": archivetest.OCI(t, bomb), "docker": archivetest.Docker(t, bomb)} {
		_, err := p.upload(t, archivetest.Tar(t, entries...))
		if limit, ok := errors.AsType[*errdefs.LimitExceeded](err); !ok || limit.Limit != archives.LimitLayerBytes {
			t.Errorf("%s: %v", kind, err)
		}
		p.wantNothing(t)
	}
}
