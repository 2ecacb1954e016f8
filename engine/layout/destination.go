package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// destination is what both kinds of destinations have in common. Blobs come one after the other.
type destination struct {
	ref         types.ImageReference
	files       Files
	folder      string // that blobs go to
	compression types.LayerCompression
	blobs       map[digest.Digest]int64 // lengths of those that were written
}

// Reference returns the reference.
func (d *destination) Reference() types.ImageReference { return d.ref }

// Close does nothing: the files stay the caller's.
func (d *destination) Close() error { return nil }

// SupportsSignatures fails: callers leave signatures behind.
func (d *destination) SupportsSignatures(context.Context) error {
	return errors.New("an image that leaves the store is converted, so its signatures would not hold")
}

// DesiredLayerCompression tells whether layers are to be compressed.
func (d *destination) DesiredLayerCompression() types.LayerCompression { return d.compression }

// AcceptsForeignLayerURLs returns false: the output must have all layers.
func (d *destination) AcceptsForeignLayerURLs() bool { return false }

// MustMatchRuntimeOS returns false.
func (d *destination) MustMatchRuntimeOS() bool { return false }

// IgnoresEmbeddedDockerReference returns true: there is no reference to compare with.
func (d *destination) IgnoresEmbeddedDockerReference() bool { return true }

// HasThreadSafePutBlob returns false: a stream has one blob after the other.
func (d *destination) HasThreadSafePutBlob() bool { return false }

// PutBlob writes a blob.
func (d *destination) PutBlob(_ context.Context, stream io.Reader, info types.BlobInfo, _ types.BlobInfoCache, _ bool) (types.BlobInfo, error) {
	if info.Digest != "" && info.Size >= 0 {
		if err := valid(info.Digest); err != nil {
			return types.BlobInfo{}, err
		}
		if err := d.files.Put(d.path(info.Digest), info.Size, stream); err != nil {
			return types.BlobInfo{}, err
		}
		d.blobs[info.Digest] = info.Size
		return types.BlobInfo{Digest: info.Digest, Size: info.Size}, nil
	}
	digester := digest.Canonical.Digester()
	var sum digest.Digest
	size, err := d.files.PutLater(d.folder, io.TeeReader(stream, digester.Hash()), func() string {
		sum = digester.Digest()
		if _, ok := d.blobs[sum]; ok {
			return ""
		}
		return sum.Encoded()
	})
	if err != nil {
		return types.BlobInfo{}, err
	}
	d.blobs[sum] = size
	return types.BlobInfo{Digest: sum, Size: size}, nil
}

// TryReusingBlob finds a blob that was written before.
func (d *destination) TryReusingBlob(_ context.Context, info types.BlobInfo, _ types.BlobInfoCache, _ bool) (bool, types.BlobInfo, error) {
	size, ok := d.blobs[info.Digest]
	if !ok {
		return false, types.BlobInfo{}, nil
	}
	return true, types.BlobInfo{Digest: info.Digest, Size: size, MediaType: info.MediaType}, nil
}

// PutSignatures fails if there are any.
func (d *destination) PutSignatures(ctx context.Context, signatures [][]byte, _ *digest.Digest) error {
	if len(signatures) == 0 {
		return nil
	}
	return d.SupportsSignatures(ctx)
}

func (d *destination) put(name string, data []byte) error {
	return d.files.Put(name, int64(len(data)), bytes.NewReader(data))
}

// path is the name of a blob's file.
func (d *destination) path(sum digest.Digest) string { return path.Join(d.folder, sum.Encoded()) }

// valid tells whether a digest is one that the forms have a place for. It becomes a file's name.
func valid(sum digest.Digest) error {
	if err := sum.Validate(); err != nil {
		return err
	}
	if sum.Algorithm() != digest.Canonical {
		return fmt.Errorf("digest %s: only sha256 is supported", sum)
	}
	return nil
}
