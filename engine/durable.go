package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/recovery"
)

// fsSyncer writes the dirty data of a store's file systems to the disk, and tells the journal so. Callers that come while
// a round is running share the next one. It keeps the folders open all the time: the kernel then tells about writes that
// failed between two rounds, too.
type fsSyncer struct {
	journal *recovery.Journal
	dirs    []*os.File

	rounds sync.WaitGroup // begun and not ended
	turn   sync.Mutex     // held during a round, so that one runs at a time

	mu   sync.Mutex // guards next
	next *syncRound // not begun yet; nil: the next caller makes one
}

type syncRound struct {
	done chan struct{} // closed when err is set
	err  error
}

// newFSSyncer makes one for the file systems of these folders; empty paths stand for none.
func newFSSyncer(journal *recovery.Journal, paths ...string) (*fsSyncer, error) {
	s := &fsSyncer{journal: journal}
	for _, path := range paths {
		if path == "" {
			continue
		}
		dir, err := os.Open(path)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.dirs = append(s.dirs, dir)
	}
	return s, nil
}

// sync returns when a round that began after the call has ended, with that round's error. If the context ends before, it
// returns its cause, and the round goes on.
func (s *fsSyncer) sync(ctx context.Context) error {
	s.mu.Lock()
	if s.next == nil {
		round := &syncRound{done: make(chan struct{})}
		s.next = round
		s.rounds.Go(func() { s.run(round) })
	}
	round := s.next
	s.mu.Unlock()
	select {
	case <-round.done:
		return round.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run does a round. It closes it to newcomers first: what they wrote may come too late for it.
func (s *fsSyncer) run(round *syncRound) {
	defer close(round.done)
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	quiet := s.journal.Quiet()
	for _, dir := range s.dirs {
		if err := unix.Syncfs(int(dir.Fd())); err != nil {
			round.err = errors.Join(round.err, fmt.Errorf("syncfs %s: %w", dir.Name(), err))
		}
	}
	if round.err != nil {
		round.err = errors.Join(round.err, s.journal.Suspect())
		return
	}
	s.journal.Clean(quiet)
}

// close waits for the last round.
func (s *fsSyncer) close() error {
	s.rounds.Wait()
	var errs []error
	for _, dir := range s.dirs {
		errs = append(errs, dir.Close())
	}
	return errors.Join(errs...)
}
