package direct

import (
	"io"

	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
)

// Layer opens the uncompressed tar of one layer, put together from what is on the disk. It returns nil if that is not
// possible here. A file that is not the one that was unpacked makes reading fail.
func Layer(store storage.Store, id string, uncompressed digest.Digest) (io.ReadCloser, error) {
	l := &layers{store: store, ids: map[digest.Digest][]string{uncompressed: {id}}}
	return l.open(uncompressed)
}
