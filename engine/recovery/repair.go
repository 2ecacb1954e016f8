package recovery

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/containers/storage"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

// repair looks through a store once.
type repair struct {
	store  storage.Store
	log    logrus.FieldLogger
	record *record

	layers     map[string]*storage.Layer
	images     []storage.Image
	containers []storage.Container
	children   map[string][]string // of layers

	mu     sync.Mutex // guards broken while layers are checked side by side
	broken map[string]error
}

// run checks and removes. It returns the layers that are damaged and still there.
func (r *repair) run(ctx context.Context) (map[string]error, error) {
	r.log.Warnf("store %s: the last imaged here did not end well; checking what was written since %s",
		r.store.GraphRoot(), r.record.Clean.Format("2006-01-02 15:04:05"))
	if err := r.read(); err != nil {
		return nil, err
	}
	r.broken = make(map[string]error)
	if r.record.Disk == unknownDisk || r.record.Disk != diskOf(r.store.GraphRoot()) {
		if err := r.checkLayers(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.removeImages(ctx); err != nil {
		return nil, err
	}
	for id := range r.broken {
		r.removeLayer(id)
	}
	r.removeOrphans()
	for id, err := range r.broken {
		if r.layers[id] == nil {
			delete(r.broken, id)
			continue
		}
		r.log.Errorf("layer %s: %v; something uses it, so it stays, but no image is made of it; remove what uses it", id, err)
	}
	return r.broken, nil
}

// read reads the store's records. Reading them makes the library remove layers that were not unpacked to their end.
func (r *repair) read() error {
	layers, err := r.store.Layers()
	if err != nil {
		return err
	}
	r.layers, r.children = make(map[string]*storage.Layer), make(map[string][]string)
	for i := range layers {
		l := &layers[i]
		if l.ReadOnly { // another store's
			continue
		}
		r.layers[l.ID] = l
		if l.Parent != "" {
			r.children[l.Parent] = append(r.children[l.Parent], l.ID)
		}
	}
	if r.images, err = r.store.Images(); err != nil {
		return err
	}
	r.containers, err = r.store.Containers()
	return err
}

// checkLayers compares what was written since the last clean point. What stands on a damaged layer is damaged, too.
func (r *repair) checkLayers(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for id, layer := range r.layers {
		if layer.Created.Before(r.record.Clean) {
			continue
		}
		group.Go(func() error {
			err := checkLayer(ctx, r.store, layer)
			if !errors.Is(err, errDamaged) {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.broken[id] = err
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for id := range r.broken {
		r.breakChildren(id)
	}
	return nil
}

func (r *repair) breakChildren(id string) {
	for _, child := range r.children[id] {
		if r.broken[child] == nil {
			r.broken[child] = fmt.Errorf("%w: it stands on layer %s", errDamaged, id)
			r.breakChildren(child)
		}
	}
}

// removeImages removes images that are damaged.
func (r *repair) removeImages(ctx context.Context) error {
	var whole []storage.Image
	for _, img := range r.images {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if img.ReadOnly || !r.removeIfDamaged(&img) {
			whole = append(whole, img)
		}
	}
	r.images = whole
	return nil
}

func (r *repair) removeIfDamaged(img *storage.Image) bool {
	found := r.checkImage(img)
	if found == nil {
		return false
	}
	layers, err := r.store.DeleteImage(img.ID, true)
	if err != nil {
		r.log.Errorf("image %s %q: %v; it cannot be removed: %v", img.ID, img.Names, found, err)
		return false
	}
	for _, id := range layers {
		delete(r.layers, id)
	}
	r.log.Warnf("image %s %q: %v; it is removed: pull it again", img.ID, img.Names, found)
	return true
}

func (r *repair) checkImage(img *storage.Image) error {
	for _, top := range append([]string{img.TopLayer}, img.MappedTopLayers...) {
		if err := r.broken[top]; err != nil {
			return fmt.Errorf("layer %s: %w", top, err)
		}
		if top != "" && !r.store.Exists(top) {
			return fmt.Errorf("%w: its layer %s is not there", errDamaged, top)
		}
	}
	return checkImage(r.store, img, r.record.Touched[img.ID])
}

// removeLayer removes a layer after those that stand on it, if nothing else uses them.
func (r *repair) removeLayer(id string) {
	for _, child := range r.children[id] {
		r.removeLayer(child)
	}
	layer := r.layers[id]
	if layer == nil {
		return
	}
	reason := r.broken[id]
	if err := r.store.DeleteLayer(id); err != nil && !errors.Is(err, storage.ErrLayerUnknown) && !errors.Is(err, storage.ErrNotALayer) {
		r.log.Warnf("layer %s: not removed: %v", id, err)
		return
	}
	delete(r.layers, id)
	if reason != nil {
		r.log.Warnf("layer %s: %v; it is removed", id, reason)
		return
	}
	r.log.Infof("layer %s: nothing uses it; it is removed", id)
}

// removeOrphans removes layers that were being made or removed and that nothing uses.
func (r *repair) removeOrphans() {
	used := make(map[string]bool)
	use := func(id string) {
		for layer := r.layers[id]; layer != nil && !used[layer.ID]; layer = r.layers[layer.Parent] {
			used[layer.ID] = true
		}
	}
	for _, img := range r.images {
		for _, top := range append([]string{img.TopLayer}, img.MappedTopLayers...) {
			use(top)
		}
	}
	for _, c := range r.containers {
		use(c.LayerID)
	}
	for id := range r.layers {
		if !r.record.Touched[id] { // somebody else's: all that is under it is in use
			use(id)
		}
	}
	for _, id := range r.record.touched() {
		if !used[id] {
			r.removeLayer(id)
		}
	}
}
