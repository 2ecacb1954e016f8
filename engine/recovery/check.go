package recovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/direct"
)

// errDamaged is the root of all errors that a check finds.
var errDamaged = errors.New("damaged")

// manifestKey is the data item that every image gets last but for its names.
const manifestKey = storage.ImageDigestBigDataKey

// checkLayer compares a layer's files with what was unpacked. What it returns is errDamaged, or says that it could not
// look.
func checkLayer(ctx context.Context, store storage.Store, layer *storage.Layer) error {
	if err := checkOverlay(store, layer); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if layer.UncompressedDigest == "" { // a container's
		return nil
	}
	err := checkContent(ctx, store, layer)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EAGAIN):
		return err // not the layer's fault
	}
	return fmt.Errorf("%w: %w", errDamaged, err)
}

func checkContent(ctx context.Context, store storage.Store, layer *storage.Layer) (err error) {
	if err := layer.UncompressedDigest.Validate(); err != nil {
		return err
	}
	content, err := direct.Layer(store, layer.ID, layer.UncompressedDigest)
	if err == nil && content == nil {
		content, err = store.Diff("", layer.ID, &storage.DiffOptions{Compression: new(archive.Uncompressed)})
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	found, err := layer.UncompressedDigest.Algorithm().FromReader(content)
	if err != nil {
		return err
	}
	if found != layer.UncompressedDigest {
		return fmt.Errorf("its content has the digest %s, not %s", found, layer.UncompressedDigest)
	}
	return nil
}

// checkOverlay looks at the files in which the overlay driver keeps which layers lie under this one. An empty one of
// them would give an image without its lower layers.
func checkOverlay(store storage.Store, layer *storage.Layer) error {
	if store.GraphDriverName() != "overlay" {
		return nil
	}
	link, lower, err := overlayFiles(store, layer.ID)
	if err != nil {
		return err
	}
	if link == "" {
		return errors.New("the driver's link is empty")
	}
	want := ""
	if layer.Parent != "" {
		parentLink, parentLower, err := overlayFiles(store, layer.Parent)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // in another store, or there would be no layer that stands on it
		}
		if err != nil {
			return err
		}
		want = strings.TrimSuffix("l/"+parentLink+":"+parentLower, ":")
	}
	if lower != want {
		return fmt.Errorf("the driver's list of lower layers is %q, not %q", lower, want)
	}
	return nil
}

// checkImage looks at an image's documents. Half made is one that was being made, and has no name yet.
func checkImage(store storage.Store, img *storage.Image, touched bool) error {
	for _, key := range img.BigDataNames {
		data, err := store.ImageBigData(img.ID, key)
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		if int64(len(data)) != img.BigDataSizes[key] {
			return fmt.Errorf("%w: %s has %d bytes, not %d", errDamaged, key, len(data), img.BigDataSizes[key])
		}
		if err := checkDocument(key, data); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	if touched && len(img.Names) == 0 {
		return fmt.Errorf("%w: half made", errDamaged)
	}
	return nil
}

// checkDocument compares a document with the digest that it is called by, if it is.
func checkDocument(key string, data []byte) error {
	text, isManifest := strings.CutPrefix(key, manifestKey+"-")
	want, err := digest.Parse(text)
	if err != nil {
		return nil // called otherwise
	}
	found := want.Algorithm().FromBytes(data)
	if isManifest && found != want {
		if found, err = manifest.Digest(data); err != nil { // the older kind does not count its signature
			return err
		}
	}
	if found != want {
		return fmt.Errorf("%s has the digest %s", key, found)
	}
	return nil
}
