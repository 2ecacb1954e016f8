// Package stores opens stores of the storage library and closes them. The library keeps a list of those that are open, and
// does not lock it when it takes one off: so this is done here, for all of a process.
//
// Package engine, what is below it, and its tests may import it, nothing else may.
package stores

import (
	"sync"

	"github.com/containers/storage"
)

var mu sync.Mutex // guards the library's list

// Open opens a store, or returns the one that is open on these folders. Errors are the library's.
func Open(options storage.StoreOptions) (storage.Store, error) {
	mu.Lock()
	defer mu.Unlock()
	return storage.GetStore(options)
}

// Close unmounts what a store's driver mounted for itself, with force also what is in use, and takes the store off the
// list. Errors are the library's; storage.ErrLayerUsedByContainer says that something in use stays mounted.
func Close(store storage.Store, force bool) error {
	mu.Lock()
	defer mu.Unlock()
	_, err := store.Shutdown(force)
	store.Free()
	return err
}
