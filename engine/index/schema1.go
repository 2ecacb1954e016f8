package index

import (
	"fmt"

	"github.com/containers/image/v5/manifest"
)

// schema1Config makes a configuration of docker's oldest kind of manifest, which has none. Its layers' digests are
// not known.
func schema1Config(data []byte) (*Config, error) {
	m, err := manifest.Schema1FromManifest(data)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	info, err := m.Inspect(nil)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return &Config{
		Created: info.Created, Author: info.Author, OS: info.Os, Architecture: info.Architecture, Variant: info.Variant,
		Run: RunConfig{Labels: info.Labels, Env: info.Env}, chain: chainOf(nil),
	}, nil
}
