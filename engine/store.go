package engine

import (
	"errors"
	"maps"
	"sync"

	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/storage"
	storagetypes "github.com/containers/storage/types"
)

// stores guards the library's list of open stores: it locks that itself when it adds one, not when it frees one.
var stores sync.Mutex

// openStore opens the store that the host's storage.conf and the options describe.
func openStore(opts Options) (storage.Store, error) {
	so, err := storagetypes.DefaultStoreOptions()
	if err != nil {
		return nil, subject("storage.conf", err)
	}
	if opts.Root != "" {
		so.GraphRoot = opts.Root
	}
	if opts.RunRoot != "" {
		so.RunRoot = opts.RunRoot
	}
	if opts.Driver != "" && opts.Driver != so.GraphDriverName {
		so.GraphDriverName = opts.Driver
		so.GraphDriverOptions = nil // they are another driver's
	}
	// Partial pulls give different images one id (their id leaves the configuration's digest out), whatever
	// storage.conf says.
	so.PullOptions = maps.Clone(so.PullOptions)
	if so.PullOptions == nil {
		so.PullOptions = map[string]string{}
	}
	so.PullOptions["enable_partial_images"] = "false"

	stores.Lock()
	defer stores.Unlock()
	store, err := storage.GetStore(so)
	if err != nil {
		return nil, err
	}
	// The libraries parse containers-storage: names with this one. Our own code makes its references from the
	// store itself, so that two engines do not meet here.
	istorage.Transport.SetStore(store)
	return store, nil
}

// closeStore unmounts what the store's driver mounted for itself and forgets the store. Layers that a container has
// mounted stay so.
func closeStore(store storage.Store) error {
	stores.Lock()
	defer stores.Unlock()
	_, err := store.Shutdown(false)
	store.Free()
	if errors.Is(err, storage.ErrLayerUsedByContainer) {
		return nil
	}
	return err
}
