package direct

import (
	"fmt"

	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
)

// configDigest returns the digest of a manifest's configuration; empty: it has none.
func configDigest(data []byte, mime string) (digest.Digest, error) {
	m, err := manifest.FromBlob(data, mime)
	if err != nil {
		return "", fmt.Errorf("manifest: %w", err)
	}
	return m.ConfigInfo().Digest, nil
}

// layerDigests returns the digests of the layers in a manifest.
func layerDigests(data []byte, mime string) ([]digest.Digest, error) {
	m, err := manifest.FromBlob(data, mime)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var all []digest.Digest
	for _, info := range m.LayerInfos() {
		all = append(all, info.Digest)
	}
	return all, nil
}
