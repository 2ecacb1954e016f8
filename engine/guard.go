package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/containers/storage"
	drivers "github.com/containers/storage/drivers"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/recovery"
)

// guardedStore is a store that survives: before it gets new content, the journal says so; before an image is made, its
// layers are on the disk, so that no power cut leaves an image without its files; and what is written stops before the
// disk is full. It stands between the libraries and the store, so that no verb can forget it.
type guardedStore struct {
	storage.Store
	journal *recovery.Journal
	sync    *fsSyncer
	room    *roomKeeper
	damaged map[string]error // layers that no image may be made of
	log     logrus.FieldLogger

	lose sync.Once
	lost chan struct{} // closed when a lock of the store is lost
}

// newGuardedStore guards a store that was opened just now, and ends the recovery that was begun before.
func newGuardedStore(ctx context.Context, store storage.Store, found *recovery.Recovery, opts Options) (*guardedStore, error) {
	journal, damaged, err := found.Finish(ctx, store)
	if err != nil {
		return nil, err
	}
	syncer, err := newFSSyncer(journal, store.GraphRoot(), store.ImageStore())
	if err != nil {
		return nil, err
	}
	opts.Pull.defaults()
	return &guardedStore{
		Store: store, journal: journal, sync: syncer, damaged: damaged, room: &roomKeeper{keep: opts.Pull.FreeBytes},
		log: opts.Log, lost: make(chan struct{}),
	}, nil
}

// close ends the guard when nothing writes any more. The store itself stays open.
func (g *guardedStore) close() error {
	var err error
	if g.journal.Changed() {
		err = g.sync.sync(context.Background())
	}
	return errors.Join(err, g.journal.Close(err == nil && !g.unfinished()), g.sync.close())
}

// unfinished tells whether anything is still there that was to be removed, or to become part of an image.
func (g *guardedStore) unfinished() bool {
	return slices.ContainsFunc(g.journal.Noted(), g.Exists)
}

// hasRoom fails with *errdefs.StorageFull if the store's disk is too full for more content.
func (g *guardedStore) hasRoom() error { return g.room.check(g.GraphRoot()) }

// write does what brings new content, after the journal has been told.
func (g *guardedStore) write(do func() error, ids ...string) error {
	if err := g.hasRoom(); err != nil {
		return err
	}
	done, err := g.journal.Change()
	if err != nil {
		return subject("write journal", err)
	}
	defer done()
	if err := g.journal.Note(ids...); err != nil {
		return subject("write journal", err)
	}
	err = g.use(do)
	if err != nil {
		g.journal.Forget(slices.DeleteFunc(ids, g.Exists)...)
	}
	return err
}

// put is write for a call with a result.
func put[T any](g *guardedStore, do func() (T, error), ids ...string) (result T, err error) {
	err = g.write(func() (err error) {
		result, err = do()
		return err
	}, ids...)
	return result, err
}

// CreateLayer implements storage.Store.
func (g *guardedStore) CreateLayer(id, parent string, names []string, mountLabel string, writeable bool, options *storage.LayerOptions) (*storage.Layer, error) {
	return put(g, func() (*storage.Layer, error) {
		return g.Store.CreateLayer(id, parent, names, mountLabel, writeable, options)
	}, id)
}

// PutLayer implements storage.Store.
func (g *guardedStore) PutLayer(id, parent string, names []string, mountLabel string, writeable bool, options *storage.LayerOptions, diff io.Reader) (layer *storage.Layer, size int64, err error) {
	err = g.write(func() (err error) {
		layer, size, err = g.Store.PutLayer(id, parent, names, mountLabel, writeable, options, g.room.reader(diff, g.GraphRoot()))
		return err
	}, id)
	return layer, size, err
}

// ApplyDiff implements storage.Store.
func (g *guardedStore) ApplyDiff(to string, diff io.Reader) (int64, error) {
	return put(g, func() (int64, error) { return g.Store.ApplyDiff(to, g.room.reader(diff, g.GraphRoot())) })
}

// PrepareStagedLayer implements storage.Store.
func (g *guardedStore) PrepareStagedLayer(options *drivers.ApplyDiffWithDifferOpts, differ drivers.Differ) (*drivers.DriverWithDifferOutput, error) {
	return put(g, func() (*drivers.DriverWithDifferOutput, error) { return g.Store.PrepareStagedLayer(options, differ) })
}

// ApplyStagedLayer implements storage.Store.
func (g *guardedStore) ApplyStagedLayer(args storage.ApplyStagedLayerOptions) (*storage.Layer, error) {
	return put(g, func() (*storage.Layer, error) { return g.Store.ApplyStagedLayer(args) }, args.ID)
}

// CreateImage implements storage.Store.
func (g *guardedStore) CreateImage(id string, names []string, layer, metadata string, options *storage.ImageOptions) (*storage.Image, error) {
	chain := g.chain(layer)
	for _, l := range chain {
		if err := g.damaged[l]; err != nil {
			return nil, &errdefs.Failed{Err: fmt.Errorf("layer %s: %w, and something uses it, so that it cannot be made anew; remove the containers that use it, and start imaged again", l, err)}
		}
	}
	var made []string
	if !g.Exists(id) { // else it may be one without a name that was acknowledged long ago
		made = []string{id}
	}
	img, err := put(g, func() (*storage.Image, error) {
		if err := g.sync.sync(context.Background()); err != nil {
			return nil, err
		}
		return g.Store.CreateImage(id, names, layer, metadata, options)
	}, made...)
	if err == nil || errors.Is(err, storage.ErrDuplicateID) {
		g.journal.Forget(chain...)
	}
	return img, err
}

// settle says that images are made, with the names that they are to have.
func (g *guardedStore) settle(ids ...string) { g.journal.Settle(ids...) }

// DeleteLayer implements storage.Store.
func (g *guardedStore) DeleteLayer(id string) error {
	err := g.use(func() error { return g.Store.DeleteLayer(id) })
	if err == nil || used(err) {
		g.journal.Forget(id)
	}
	return err
}

// DeleteImage implements storage.Store.
func (g *guardedStore) DeleteImage(id string, commit bool) ([]string, error) {
	var chain []string
	if img, err := g.Image(id); err == nil {
		chain = g.chain(img.TopLayer)
	}
	// On a full disk it must be possible all the same: what may be lost is the room of a layer.
	if err := g.journal.Note(chain...); err != nil && !diskRefuses(err) {
		return nil, subject("write journal", err)
	}
	layers, err := get(g, func() ([]string, error) { return g.Store.DeleteImage(id, commit) })
	if err == nil || g.Exists(id) {
		g.journal.Forget(chain...)
	}
	if err == nil {
		g.journal.Forget(id)
	}
	return layers, err
}

// used tells whether an error says that a layer is in use: whoever uses it looks after it.
func used(err error) bool {
	return errors.Is(err, storage.ErrLayerHasChildren) || errors.Is(err, storage.ErrLayerUsedByImage) ||
		errors.Is(err, storage.ErrLayerUsedByContainer)
}

// chain returns a layer and all that are under it.
func (g *guardedStore) chain(id string) []string {
	var chain []string
	for id != "" {
		chain = append(chain, id)
		layer, err := g.Layer(id)
		if err != nil {
			break
		}
		id = layer.Parent
	}
	return chain
}

// diskRefuses tells whether an error says that nothing can be written.
func diskRefuses(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS)
}
