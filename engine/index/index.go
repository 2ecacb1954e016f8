package index

import "github.com/containers/storage"

// Index is a view of a store. It is safe for concurrent use.
type Index struct {
	store storage.Store
}

// New makes an index of a store that stays open as long as the index is used.
func New(store storage.Store) (*Index, error) {
	return &Index{store: store}, nil
}
