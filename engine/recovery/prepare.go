package recovery

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/lockfile"
	"github.com/containers/storage/pkg/mount"
)

// overlayLinks is the folder in which the overlay driver keeps a short name for each layer; overlayLink is the file in
// a layer's folder that has that name.
const (
	overlayLinks = "l"
	overlayLink  = "link"
)

// mendLinks mends what a power cut leaves of the overlay driver's short names, before the library opens the store: if
// that removes a layer whose link file is empty, it takes the names of all layers away with it.
func mendLinks(root string) error {
	home := filepath.Join(root, "overlay")
	names := make(map[string]string) // by layer
	links, err := os.ReadDir(filepath.Join(home, overlayLinks))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, link := range links {
		path := filepath.Join(home, overlayLinks, link.Name())
		target, err := os.Readlink(path)
		if err != nil {
			continue // not the driver's
		}
		layer := filepath.Base(filepath.Dir(target))
		if _, err := os.Lstat(filepath.Join(home, layer)); errors.Is(err, fs.ErrNotExist) {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		names[layer] = link.Name()
	}
	layers, err := os.ReadDir(home)
	if err != nil {
		return err
	}
	for _, layer := range layers {
		path := filepath.Join(home, layer.Name(), overlayLink)
		if info, err := os.Lstat(path); err == nil && info.Size() == 0 {
			if err := mendLink(path, names[layer.Name()]); err != nil {
				return err
			}
		}
	}
	return nil
}

// mendLink gives an empty link file its content back. Without one the library knows how to do without the file.
func mendLink(path, name string) error {
	if name == "" {
		return os.Remove(path)
	}
	return os.WriteFile(path, []byte(name), 0o644)
}

// trials are how the folders are called in which the overlay driver tries out, at every start, what the kernel can.
var trials = []string{"opaque-bug-check", "metacopy-check", "volatile-check", "compat"}

// sweepTrials removes what is left of such trials, mounts included.
func sweepTrials(root string) error {
	var patterns []string
	for _, trial := range trials {
		patterns = append(patterns, filepath.Join(root, "overlay", trial+"[0-9]*"))
	}
	return sweep(filepath.Join(root, "storage.lock"), patterns...)
}

// temporary is how the library calls what it is about to rename to one of its records or documents.
const temporary = ".tmp-*"

// sweepRecords removes what the library was writing when it was stopped; thorough also in the folders of images.
func sweepRecords(store storage.Store, thorough bool) error {
	folder := func(kind string) string { return filepath.Join(store.GraphRoot(), store.GraphDriverName()+"-"+kind) }
	layers, images := folder("layers"), folder("images")
	patterns := []string{filepath.Join(images, temporary)}
	if thorough {
		patterns = append(patterns, filepath.Join(images, "*", temporary))
	}
	return errors.Join(
		sweep(filepath.Join(layers, "layers.lock"), filepath.Join(layers, temporary)),
		sweep(filepath.Join(images, "images.lock"), patterns...),
	)
}

// sweep removes what fits the patterns, under the library's own lock: nobody is writing then what is there. If someone
// has the lock, it is left for another time.
func sweep(lock string, patterns ...string) error {
	var found []string
	for _, pattern := range patterns {
		some, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		found = append(found, some...)
	}
	if len(found) == 0 {
		return nil
	}
	l, err := lockfile.GetLockFile(lock)
	if err != nil {
		return err
	}
	if l.TryLock() != nil {
		return nil
	}
	defer l.Unlock()
	for _, path := range found {
		if err := errors.Join(mount.RecursiveUnmount(path+"/"), os.RemoveAll(path)); err != nil {
			return err
		}
	}
	return nil
}

// overlayFiles reads how the overlay driver calls a layer, and those under it. There is none of a layer that lies in
// another store.
func overlayFiles(store storage.Store, id string) (link, lower string, err error) {
	for _, root := range []string{store.GraphRoot(), store.ImageStore()} {
		dir := filepath.Join(root, "overlay", id)
		if _, err := os.Lstat(dir); root == "" || err != nil {
			continue
		}
		linkData, err := os.ReadFile(filepath.Join(dir, overlayLink))
		if err != nil {
			return "", "", err
		}
		lowerData, err := os.ReadFile(filepath.Join(dir, "lower"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", "", err
		}
		return strings.TrimSpace(string(linkData)), strings.TrimSpace(string(lowerData)), nil
	}
	return "", "", fs.ErrNotExist
}
