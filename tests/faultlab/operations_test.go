package faultlab

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/imaged-project/imaged/tests/registrytest"
	"github.com/imaged-project/imaged/varlink"
	generated "github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// images are what the registry has. The template's store has keep:1, which no operation touches and which must be whole
// after every case, app:1 with a second name, and an image without a name.
var images = map[string]registrytest.ImageOptions{
	"keep:1": {Layers: 2, LayerSize: 512 << 10},
	"app:1":  {Layers: 3, LayerSize: 1 << 20},
	"new:1":  {Layers: 4, LayerSize: 1 << 20},
}

// second is app:1's second name.
const second = "localhost/second:1"

// state is which image each name of a store means.
type state map[string]string

// operation is a row: one kind of call that changes the store.
type operation struct {
	name string
	// call makes the call. Its error is the call's.
	call func(context.Context, *varlink.Client) error
	// after makes the state after success out of the one before.
	after func(before, after state)
	// again is what has to be done so that the call can succeed once more after it has; nil: nothing.
	again func(context.Context, *varlink.Client) error
	// grows is true if it wants room on the disk, reads if it changes nothing in the store.
	grows, reads bool
	// seldom is true if make test runs it only under faults that are about all operations.
	seldom bool
}

// operations are all of them. Each begins with the template's store.
var operations = []operation{
	{
		name:  "pull",
		grows: true,
		call:  func(ctx context.Context, c *varlink.Client) error { return pull(ctx, c, "new:1") },
		after: func(_, after state) { after[world.registry.Ref("new:1")] = newID },
	},
	{
		name:  "load",
		grows: true,
		call:  load,
		after: func(_, after state) { after[world.registry.Ref("new:1")] = newID },
	},
	{
		name:  "import",
		grows: true,
		call:  func(ctx context.Context, c *varlink.Client) error { return importRootFS(ctx, c, new(imported)) },
		after: func(_, after state) { after[imported] = anyID },
		again: func(ctx context.Context, c *varlink.Client) error { return remove(ctx, c, imported) },
	},
	{
		name:   "copy",
		grows:  true,
		seldom: true,
		call: func(ctx context.Context, c *varlink.Client) error {
			name := world.registry.Ref("new:1")
			_, err := transfers.NewClient(c).Copy(ctx, transfers.CopyIn{
				Source: "docker://" + name, Destination: "containers-storage:" + name, SourceTLSVerify: new(false),
			})
			return err
		},
		after: func(_, after state) { after[world.registry.Ref("new:1")] = newID },
	},
	{
		name:   "push",
		reads:  true,
		seldom: true,
		call: func(ctx context.Context, c *varlink.Client) error {
			_, err := transfers.NewClient(c).Push(ctx, transfers.PushIn{
				Name: world.registry.Ref("app:1"), Destination: new(world.registry.Ref("pushed:1")), TLSVerify: new(false),
			})
			return err
		},
		after: func(_, _ state) {},
	},
	{
		name:   "save",
		reads:  true,
		seldom: true,
		call: func(ctx context.Context, c *varlink.Client) error {
			return save(ctx, c, world.registry.Ref("app:1"), filepath.Join(world.dir, "saved-"+rand.Text()))
		},
		after: func(_, _ state) {},
	},
	{
		name: "tag",
		call: func(ctx context.Context, c *varlink.Client) error {
			_, err := generated.NewClient(c).Tag(ctx, generated.TagIn{Name: world.registry.Ref("app:1"), Tags: []string{"localhost/third:1"}})
			return err
		},
		after: func(before, after state) { after["localhost/third:1"] = before[second] },
	},
	{
		name: "untag",
		call: func(ctx context.Context, c *varlink.Client) error {
			_, err := generated.NewClient(c).Untag(ctx, generated.UntagIn{Name: world.registry.Ref("app:1"), Tags: []string{second}})
			return err
		},
		after: func(_, after state) { delete(after, second) },
		again: func(ctx context.Context, c *varlink.Client) error {
			_, err := generated.NewClient(c).Tag(ctx, generated.TagIn{Name: world.registry.Ref("app:1"), Tags: []string{second}})
			return err
		},
	},
	{
		name: "remove",
		call: func(ctx context.Context, c *varlink.Client) error { return remove(ctx, c, appID) },
		after: func(before, after state) {
			maps.DeleteFunc(after, func(_, id string) bool { return id == before[second] })
		},
		again: func(ctx context.Context, c *varlink.Client) error {
			if err := pull(ctx, c, "app:1"); err != nil {
				return err
			}
			_, err := generated.NewClient(c).Tag(ctx, generated.TagIn{Name: world.registry.Ref("app:1"), Tags: []string{second}})
			return err
		},
	},
	{
		name: "prune",
		call: func(ctx context.Context, c *varlink.Client) error {
			_, err := generated.NewClient(c).Prune(ctx, generated.PruneIn{})
			return err
		},
		after: func(_, after state) {
			maps.DeleteFunc(after, func(name, _ string) bool { return strings.HasPrefix(name, nameless) })
		},
	},
}

// nameless is what begins the line of an image without a name in a state.
const nameless = "sha256:"

// imported is the name of the image that import makes; its id is another one each time.
const (
	imported = "localhost/imported:1"
	anyID    = "any"
)

// newID and appID are the ids of images, known once the template is made.
var newID, appID string

// pull pulls an image of the registry, once.
func pull(ctx context.Context, c *varlink.Client, name string) error {
	_, err := transfers.NewClient(c).Pull(ctx, transfers.PullIn{
		Reference: world.registry.Ref(name), TLSVerify: new(false), Retries: new(int64(0)),
	})
	return err
}

// remove removes an image with all its names.
func remove(ctx context.Context, c *varlink.Client, name string) error {
	_, err := generated.NewClient(c).Remove(ctx, generated.RemoveIn{Names: []string{name}, Force: new(true)})
	return err
}

// save writes an image to a new file, and checks that all of it is there.
func save(ctx context.Context, c *varlink.Client, name, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sent, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	out, err := transfers.NewClient(c).Save(ctx, transfers.SaveIn{Names: []string{name}, FileDescriptor: new(c.PushFile(sent))})
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && (out.Size == nil || info.Size() != *out.Size) {
		err = fmt.Errorf("saved %d bytes, not as many as imaged says: %v", info.Size(), out.Size)
	}
	return err
}

// load loads what the template's daemon saved.
func load(ctx context.Context, c *varlink.Client) error {
	f, err := os.Open(world.archive)
	if err != nil {
		return err
	}
	_, err = transfers.NewClient(c).Load(ctx, transfers.LoadIn{FileDescriptor: new(c.PushFile(f))})
	return err
}

// importRootFS imports a file tree that is a copy of nothing.
func importRootFS(ctx context.Context, c *varlink.Client, name *string) error {
	f, err := os.Open(world.rootFS)
	if err != nil {
		return err
	}
	_, err = transfers.NewClient(c).Import(ctx, transfers.ImportIn{FileDescriptor: new(c.PushFile(f)), Name: name})
	return err
}

// makeRootFS makes what importRootFS imports.
func makeRootFS() error {
	f, err := os.Create(world.rootFS)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	for i := range 4 {
		data := make([]byte, 1<<20)
		rand.Read(data)
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: fmt.Sprint("file", i), Mode: 0o644, Size: int64(len(data))}))
		_, e := w.Write(data)
		err = errors.Join(err, e)
	}
	return errors.Join(err, w.Close(), f.Close())
}

// list returns the state of a daemon's store. An image without a name is called by its id.
func list(ctx context.Context, c *varlink.Client) (state, error) {
	out, err := generated.NewClient(c).List(ctx, generated.ListIn{All: new(true)})
	if err != nil {
		return nil, err
	}
	s := state{}
	for _, image := range out.Images {
		for _, name := range image.Names {
			s[name] = image.ID
			if name == imported {
				s[name] = anyID
			}
		}
		if len(image.Names) == 0 {
			s[nameless+image.ID] = image.ID
		}
	}
	return s, nil
}

// makeTemplate makes the file system that every case begins with.
func makeTemplate() (err error) {
	dir := world.dir + "/template"
	d := &disk{file: world.dir + "/template.img", path: dir + "/disk"}
	if err := command("mkdir", "-p", d.path); err != nil {
		return err
	}
	if err := command("mkfs.ext4", "-q", "-m", "0", "-N", "4096", d.file, fmt.Sprint(diskSize>>10)); err != nil {
		return err
	}
	if err := d.mount(); err != nil {
		return err
	}
	log := &buffer{}
	p, err := startDaemon(dir, d, log)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, log)
	}
	defer p.kill()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	world.archive, world.rootFS = filepath.Join(world.dir, "archive"), filepath.Join(world.dir, "rootfs")
	if err := errors.Join(makeRootFS(), p.call(ctx, fillTemplate)); err != nil {
		return fmt.Errorf("%w\n%s", err, log)
	}
	if err := p.stop(); err != nil {
		return err
	}
	world.template = d.file
	return d.unmount()
}

func fillTemplate(ctx context.Context, c *varlink.Client) error {
	for _, name := range []string{"keep:1", "app:1", "new:1"} {
		if err := pull(ctx, c, name); err != nil {
			return err
		}
	}
	s, err := list(ctx, c)
	if err != nil {
		return err
	}
	newID, appID = s[world.registry.Ref("new:1")], s[world.registry.Ref("app:1")]
	if err := save(ctx, c, world.registry.Ref("new:1"), world.archive); err != nil {
		return err
	}
	if err := remove(ctx, c, newID); err != nil {
		return err
	}
	if _, err = generated.NewClient(c).Tag(ctx, generated.TagIn{Name: appID, Tags: []string{second}}); err != nil {
		return err
	}
	return importRootFS(ctx, c, nil)
}

// callTimeout bounds a call under a fault.
const callTimeout = 20 * time.Second
