package layout

import (
	"context"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// dirVersion is what the library's dir transport expects in the file named version.
const dirVersion = "Directory Transport Version: 1.1\n"

// Dir returns a reference to which the library copies one image in the form of its dir transport.
func Dir(files Files, compress bool) types.ImageReference {
	return outputReference{"dir", func(ref types.ImageReference) types.ImageDestination {
		return &dirDestination{newDestination(ref, files, compress)}
	}}
}

type dirDestination struct{ destination }

// SupportedManifestMIMETypes returns nil: any.
func (d *dirDestination) SupportedManifestMIMETypes() []string { return nil }

// PutManifest writes the manifest.
func (d *dirDestination) PutManifest(_ context.Context, data []byte, instance *digest.Digest) error {
	name := "manifest.json"
	if instance != nil {
		if err := valid(*instance); err != nil {
			return err
		}
		name = instance.Encoded() + ".manifest.json"
	}
	return d.put(name, data)
}

// Commit writes what says that this is such a folder.
func (d *dirDestination) Commit(context.Context, types.UnparsedImage) error {
	return d.put("version", []byte(dirVersion))
}
