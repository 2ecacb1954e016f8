package engine

import (
	"context"
	"errors"
	"maps"
	"sync"

	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/storage"
	storagetypes "github.com/containers/storage/types"

	"github.com/imaged-project/imaged/engine/recovery"
	"github.com/imaged-project/imaged/engine/stores"
)

// transport guards which store the library's transport of images in stores has.
var transport sync.Mutex

// storeOptions say which store the host's storage.conf and the options describe.
func storeOptions(opts Options) (storage.StoreOptions, error) {
	so, err := storagetypes.DefaultStoreOptions()
	if err != nil {
		return so, subject("storage.conf", err)
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
	return so, nil
}

// openStore opens a store, after what an engine that did not end well has left there was put right.
func openStore(ctx context.Context, opts Options) (*guardedStore, error) {
	so, err := storeOptions(opts)
	if err != nil {
		return nil, err
	}
	found, err := recovery.Begin(ctx, so.GraphRoot, opts.Log)
	if err != nil {
		return nil, err
	}
	store, err := stores.Open(so)
	if err != nil {
		found.Abandon()
		return nil, err
	}
	guard, err := newGuardedStore(ctx, store, found, opts)
	if err != nil {
		return nil, errors.Join(err, closeStore(store))
	}
	transport.Lock()
	defer transport.Unlock()
	// The libraries parse containers-storage: names with this one. Our own code makes its references from the
	// store itself, so that two engines do not meet here.
	istorage.Transport.SetStore(guard)
	return guard, nil
}

// closeStore unmounts what the store's driver mounted for itself and forgets the store. Layers that a container has
// mounted stay so.
func closeStore(store storage.Store) error {
	if err := stores.Close(store, false); !errors.Is(err, storage.ErrLayerUsedByContainer) {
		return err
	}
	return nil
}
