package engine

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// fsSyncer writes a file system's dirty data to the disk. Callers that come while a round is running share the next
// one. It keeps the folder open all the time: the kernel then tells about writes that failed between two rounds, too.
type fsSyncer struct {
	dir *os.File

	mu      sync.Mutex // guards what follows
	running bool
	next    *syncRound
}

type syncRound struct {
	done chan struct{}
	err  error // set before done is closed
}

func newFSSyncer(path string) (*fsSyncer, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &fsSyncer{dir: dir}, nil
}

// sync returns when a round that began after the call has ended, with that round's error.
func (s *fsSyncer) sync() error {
	s.mu.Lock()
	if s.next == nil {
		s.next = &syncRound{done: make(chan struct{})}
	}
	round, lead := s.next, !s.running
	if lead {
		s.running = true
	}
	s.mu.Unlock()
	if lead {
		s.run()
	}
	<-round.done
	return round.err
}

// run does rounds until nobody waits for one.
func (s *fsSyncer) run() {
	for {
		s.mu.Lock()
		round := s.next
		s.next = nil
		if round == nil {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if err := unix.Syncfs(int(s.dir.Fd())); err != nil {
			round.err = fmt.Errorf("syncfs %s: %w", s.dir.Name(), err)
		}
		close(round.done)
	}
}

func (s *fsSyncer) close() error { return s.dir.Close() }
