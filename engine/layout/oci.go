package layout

import (
	"context"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// OCIOptions say how to write an OCI layout.
type OCIOptions struct {
	// Names are the references that the layout's index has for the image. None: it has no name.
	Names []string
	// Compress compresses layers that are not.
	Compress bool
}

// OCI returns a reference to which the library copies one image as an OCI layout.
func OCI(files Files, o OCIOptions) types.ImageReference {
	return outputReference{"oci", func(ref types.ImageReference) types.ImageDestination {
		d := &ociDestination{destination: newDestination(ref, files, o.Compress), names: o.Names}
		d.folder = imgspec.ImageBlobsDir + "/" + digest.Canonical.String()
		return d
	}}
}

func newDestination(ref types.ImageReference, files Files, compress bool) destination {
	d := destination{ref: ref, files: files, compression: types.PreserveOriginal, blobs: make(map[digest.Digest]int64)}
	if compress {
		d.compression = types.Compress
	}
	return d
}

type ociDestination struct {
	destination
	names []string
	index imgspec.Index
}

// SupportedManifestMIMETypes returns those of OCI.
func (d *ociDestination) SupportedManifestMIMETypes() []string {
	return []string{imgspec.MediaTypeImageManifest, imgspec.MediaTypeImageIndex}
}

// PutManifest writes the manifest and notes it for the index.
func (d *ociDestination) PutManifest(_ context.Context, data []byte, instance *digest.Digest) error {
	sum, err := manifest.Digest(data)
	if err != nil {
		return err
	}
	if _, ok := d.blobs[sum]; !ok {
		if err := d.put(d.path(sum), data); err != nil {
			return err
		}
		d.blobs[sum] = int64(len(data))
	}
	if instance != nil {
		return nil // the list names it
	}
	entry := imgspec.Descriptor{MediaType: manifest.GuessMIMEType(data), Digest: sum, Size: int64(len(data))}
	if len(d.names) == 0 {
		d.index.Manifests = append(d.index.Manifests, entry)
	}
	for _, name := range d.names {
		entry.Annotations = map[string]string{imgspec.AnnotationRefName: name}
		d.index.Manifests = append(d.index.Manifests, entry)
	}
	return nil
}

// Commit writes the index, and what says that this is a layout.
func (d *ociDestination) Commit(context.Context, types.UnparsedImage) error {
	d.index.Versioned = specs.Versioned{SchemaVersion: 2}
	d.index.MediaType = imgspec.MediaTypeImageIndex
	index, err := json.Marshal(d.index, json.Deterministic(true))
	if err != nil {
		return err
	}
	if err := d.put(imgspec.ImageIndexFile, index); err != nil {
		return err
	}
	mark, err := json.Marshal(imgspec.ImageLayout{Version: imgspec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	return d.put(imgspec.ImageLayoutFile, mark)
}
