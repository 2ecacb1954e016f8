package engine

import (
	"slices"
	"sync"

	"github.com/containers/storage"
)

// pullState keeps watch over the layers that running pulls make, so that those of a pull that failed or was cancelled
// go again. The library leaves them: a layer is complete long before its image is. The zero value is ready for use.
type pullState struct {
	mu      sync.Mutex // guards what follows
	running int
	made    []string // ids of layers that were not there before, each after its parent
}

// enter counts a pull that begins.
func (s *pullState) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
}

// foresee takes down which of the layers a pull is about to make. If it succeeds, it calls forget.
func (s *pullState) foresee(store storage.Store, chain []string) (forget func()) {
	var absent []string
	for _, id := range chain {
		if !store.Exists(id) {
			absent = append(absent, id)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range absent {
		if !slices.Contains(s.made, id) {
			s.made = append(s.made, id)
		}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.made = slices.DeleteFunc(s.made, func(id string) bool { return slices.Contains(absent, id) })
	}
}

// leave counts a pull that has ended. With the last one, layers that were made and that nothing uses go: as long as
// another pull runs, it may be about to build on one of them. The store itself refuses to remove a layer in use.
func (s *pullState) leave(store storage.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if s.running > 0 {
		return
	}
	for _, id := range slices.Backward(s.made) {
		_ = store.DeleteLayer(id) // in use, or never made; what is left does no harm, the next pull uses it
	}
	s.made = nil
}
