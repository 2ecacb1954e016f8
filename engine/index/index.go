package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containers/storage"
)

// Place is where a store keeps its records: the store's own folder, or that of an additional one.
type Place struct {
	// Images is the folder of images.json and of the images' data.
	Images string
	// Layers are the files that list layers.
	Layers []string
	// Containers are the files that list containers.
	Containers []string
	// ReadOnly is true of an additional store.
	ReadOnly bool
}

// Places returns where an open store keeps its records, in the order in which it looks for an image.
func Places(store storage.Store) ([]Place, error) {
	driver := store.GraphDriverName()
	folder := func(root, kind string) string { return filepath.Join(root, driver+"-"+kind) }
	root, run := store.GraphRoot(), store.RunRoot()
	volatile := root
	if store.TransientStore() {
		volatile = run
	}
	own := Place{
		Images: folder(root, "images"),
		Layers: []string{
			filepath.Join(folder(root, "layers"), "layers.json"),
			filepath.Join(folder(volatile, "layers"), "volatile-layers.json"),
		},
		Containers: []string{
			filepath.Join(folder(root, "containers"), "containers.json"),
			filepath.Join(folder(volatile, "containers"), "volatile-containers.json"),
		},
	}
	places := []Place{own}
	if apart := store.ImageStore(); apart != "" {
		places = slices.Insert(places, 0, Place{
			Images: folder(apart, "images"), Layers: []string{filepath.Join(folder(apart, "layers"), "layers.json")},
		})
	}
	gd, err := store.GraphDriver()
	if err != nil {
		return nil, fmt.Errorf("storage driver: %w", err)
	}
	for _, dir := range gd.AdditionalImageStores() {
		places = append(places, Place{
			Images: folder(dir, "images"), Layers: []string{filepath.Join(folder(dir, "layers"), "layers.json")}, ReadOnly: true,
		})
	}
	return places, nil
}

// Index is a view of a store. It is safe for concurrent use.
type Index struct {
	places []Place

	mu         sync.Mutex // guards what follows; held while files are read, by one caller for all
	current    *Snapshot  // nil: none yet, or out of date
	images     []*table[imageRecord]
	layers     []*table[layerRecord]
	containers []*table[containerRecord]
	facts      map[string]*Facts
	known      map[string]layerRecord // layers by id, as of the newest reading
	missing    bool                   // an image's topmost layer was not among them
}

// New makes an index of an open store. It is closed after the store: closing it gives up the locks that this process
// has of the store.
func New(store storage.Store) (*Index, error) {
	places, err := Places(store)
	if err != nil {
		return nil, err
	}
	return Open(places), nil
}

// Open makes an index of what lies in these places. Nothing is read yet.
func Open(places []Place) *Index {
	x := &Index{places: places, facts: make(map[string]*Facts)}
	for _, p := range places {
		x.images = append(x.images, &table[imageRecord]{
			path: filepath.Join(p.Images, "images.json"), lock: lockFile{path: filepath.Join(p.Images, "images.lock")},
		})
		for _, path := range p.Layers {
			x.layers = append(x.layers, &table[layerRecord]{path: path, lock: lockFile{path: filepath.Join(filepath.Dir(path), "layers.lock")}})
		}
		for _, path := range p.Containers {
			x.containers = append(x.containers, &table[containerRecord]{
				path: path, lock: lockFile{path: filepath.Join(filepath.Dir(path), "containers.lock")},
			})
		}
	}
	return x
}

// Snapshot returns what the store holds now: whatever was written before the call is in it. It fails if the store's
// records cannot be read, or if the context has ended.
func (x *Index) Snapshot(ctx context.Context) (*Snapshot, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	changed, err := x.refresh()
	if err != nil {
		return nil, err
	}
	if x.current != nil && !changed {
		return x.current, nil
	}
	// The library saves a new image's record before its data, under the lock of the images, and may take a second for
	// that when the disk is busy. Half an image is not shown: without the lock it is either whole by now, or broken.
	s, incomplete := x.build(true)
	switch {
	case !incomplete:
		x.current = s
		return s, nil
	case x.writing():
		x.current = nil
		return s, nil
	}
	if _, err := x.refresh(); err != nil {
		return nil, err
	}
	x.current, _ = x.build(false)
	return x.current, nil
}

// writing tells whether somebody is writing records of images.
func (x *Index) writing() bool {
	return slices.ContainsFunc(x.images, func(t *table[imageRecord]) bool { return t.lock.writing() })
}

// Close closes the files that the index holds open.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var errs []error
	for _, t := range x.images {
		errs = append(errs, t.lock.close())
	}
	for _, t := range x.layers {
		errs = append(errs, t.lock.close())
	}
	for _, t := range x.containers {
		errs = append(errs, t.lock.close())
	}
	return errors.Join(errs...)
}

// refresh reads what has changed since the last time.
func (x *Index) refresh() (changed bool, err error) {
	for _, t := range x.images {
		if err := t.refresh(&changed); err != nil {
			return false, err
		}
	}
	// What is known of a layer does not change, and a pull adds layers all the time: they are read only if an image's
	// topmost layer is a new one.
	if x.known == nil || changed && x.layerMissing() || x.missing {
		if err := x.refreshLayers(&changed); err != nil {
			return false, err
		}
	}
	for _, t := range x.containers {
		if err := t.refresh(&changed); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// CountLayers returns how many layers the store holds now, containers' own included.
func (x *Index) CountLayers() (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var changed bool
	if err := x.refreshLayers(&changed); err != nil {
		return 0, err
	}
	if changed {
		x.current = nil // it knows too little of the layers
	}
	n := 0
	for _, t := range x.layers {
		n += len(t.records)
	}
	return n, nil
}

func (x *Index) refreshLayers(changed *bool) error {
	var read bool
	for _, t := range x.layers {
		if err := t.refresh(&read); err != nil {
			return err
		}
	}
	if !read && x.known != nil {
		return nil
	}
	x.known = make(map[string]layerRecord)
	for _, t := range slices.Backward(x.layers) {
		for _, l := range t.records {
			x.known[l.ID] = l
		}
	}
	x.missing = x.layerMissing()
	*changed = true
	return nil
}

func (x *Index) layerMissing() bool {
	for _, t := range x.images {
		for _, r := range t.records {
			if _, ok := x.known[r.TopLayer]; !ok && r.TopLayer != "" {
				return true
			}
		}
	}
	return false
}

// forget drops the facts of images that are gone.
func (x *Index) forget(s *Snapshot) {
	maps.DeleteFunc(x.facts, func(id string, _ *Facts) bool { return s.byID[id] == nil })
}
