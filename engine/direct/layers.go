package direct

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine/readahead"
)

// canConfine is confined, asked once.
var canConfine = sync.OnceValue(confined)

// layers are those of an image, by the digest of their uncompressed tar.
type layers struct {
	store storage.Store
	ids   map[digest.Digest][]string
}

// newLayers finds the layers under a topmost one.
func newLayers(store storage.Store, top string) (*layers, error) {
	l := &layers{store: store, ids: make(map[digest.Digest][]string)}
	for id := top; id != ""; {
		layer, err := store.Layer(id)
		if err != nil {
			return nil, err
		}
		if d := layer.UncompressedDigest; d != "" {
			l.ids[d] = append(l.ids[d], id)
		}
		id = layer.Parent
	}
	return l, nil
}

// open opens the tar of a layer. It returns nil if that is not possible here.
func (l *layers) open(d digest.Digest) (io.ReadCloser, error) {
	if !canConfine() {
		return nil, nil
	}
	for _, id := range l.ids[d] {
		split, err := l.split(id)
		if err != nil {
			return nil, err
		}
		paths, err := l.paths(id)
		if err != nil {
			return nil, err
		}
		if split == "" || len(paths) == 0 {
			continue
		}
		files, err := openFolders(paths)
		if err != nil {
			return nil, err
		}
		a, err := newAssembler(split, files)
		if err != nil {
			return nil, err
		}
		return readahead.New(a), nil
	}
	return nil, nil
}

// split returns the path of a layer's headers; empty: none were kept.
func (l *layers) split(id string) (string, error) {
	roots := []string{l.store.GraphRoot()}
	if apart := l.store.ImageStore(); apart != "" {
		roots = append(roots, apart)
	}
	driver, err := l.store.GraphDriver()
	if err != nil {
		return "", err
	}
	for _, root := range append(roots, driver.AdditionalImageStores()...) {
		path := filepath.Join(root, driver.String()+"-layers", id+".tar-split.gz")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// paths returns the folders that a layer's files lie in, its own first; none if its driver does not lay them out so.
func (l *layers) paths(id string) ([]string, error) {
	driver, err := l.store.GraphDriver()
	if err != nil {
		return nil, err
	}
	switch driver.String() {
	case "overlay":
		return overlayPaths(driver, id)
	case "vfs": // a layer's folder has all files of the layers under it, too
		path, err := driver.Get(id, graphdriver.MountOpts{}) // mounts nothing
		return []string{path}, err
	}
	return nil, nil
}

func overlayPaths(driver graphdriver.Driver, id string) ([]string, error) {
	data, err := driver.Metadata(id)
	if err != nil {
		return nil, err
	}
	own := data["UpperDir"]
	if own == "" {
		return nil, nil
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(own), "composefs-data")); !errors.Is(err, fs.ErrNotExist) {
		return nil, err // nil: its files lie in a composefs
	}
	paths := []string{own}
	if lower := data["LowerDir"]; lower != "" {
		paths = append(paths, strings.Split(lower, ":")...)
	}
	return paths, nil
}
