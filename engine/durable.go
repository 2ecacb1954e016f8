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

	turn sync.Mutex // held during a round, so that one runs at a time

	mu   sync.Mutex // guards next
	next *syncRound // not begun yet; nil: the next caller makes one
}

type syncRound struct {
	once sync.Once
	err  error
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
		s.next = new(syncRound)
	}
	round := s.next
	s.mu.Unlock()
	round.once.Do(func() { s.run(round) })
	return round.err
}

// run does a round. It closes it to newcomers first: what they wrote may come too late for it.
func (s *fsSyncer) run(round *syncRound) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	if err := unix.Syncfs(int(s.dir.Fd())); err != nil {
		round.err = fmt.Errorf("syncfs %s: %w", s.dir.Name(), err)
	}
}

func (s *fsSyncer) close() error { return s.dir.Close() }
