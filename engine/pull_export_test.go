package engine

import (
	"github.com/containers/storage"

	"github.com/imaged-project/imaged/engine/staging"
)

// Store gives tests the engine's store.
func (e *Engine) Store() storage.Store { return e.store }

// StageNothing makes the engine leave all layers to the library.
func (e *Engine) StageNothing() { e.stage.impossible.Store(true) }

// SweepStaged removes what killed processes left, as opening does.
func SweepStaged(store storage.Store) error { return staging.Sweep(store) }
