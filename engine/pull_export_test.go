package engine

import "github.com/containers/storage"

// Store gives tests the engine's store.
func (e *Engine) Store() storage.Store { return e.store }
