package recovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containers/storage"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/owned"
)

// pause is how long to wait before asking again for the right to look through what was left.
const pause = 50 * time.Millisecond

// Recovery is a look through what engines that did not end well have left in a store. Other engines that start
// meanwhile wait for its end.
type Recovery struct {
	root   string
	log    logrus.FieldLogger
	stale  []*owned.Dir
	unlock func()
}

// Begin begins before the store at root is opened. The caller ends it with [Recovery.Finish], or [Recovery.Abandon]
// if the store cannot be opened. It fails if the store cannot be read, and with the context's cause.
func Begin(ctx context.Context, root string, log logrus.FieldLogger) (*Recovery, error) {
	base := filepath.Join(root, folder)
	unlock, err := lock(ctx, base, log)
	if err != nil {
		return nil, err
	}
	r := &Recovery{root: root, log: log, unlock: unlock}
	if err := sweepTrials(root); err != nil {
		log.WithError(err).Warnf("store %s: something temporary stays", root)
	}
	if r.stale, err = owned.Abandoned(base, prefix); err == nil && len(r.stale) > 0 {
		err = mendLinks(root)
	}
	if err != nil {
		r.Abandon()
		return nil, err
	}
	return r, nil
}

// Finish puts right what was left in the store, which is open now. It returns the journal of the engine that is to come,
// and the ids of layers that are damaged and could not be removed, with the reasons: no image may be made of them.
func (r *Recovery) Finish(ctx context.Context, store storage.Store) (*Journal, map[string]error, error) {
	j := &Journal{root: r.root}
	if err := sweepRecords(store, len(r.stale) > 0); err != nil {
		r.log.WithError(err).Warnf("store %s: something temporary stays", r.root)
	}
	if len(r.stale) == 0 {
		r.unlock()
		return j, nil, nil
	}
	damaged, err := r.recover(ctx, store)
	if err != nil {
		r.Abandon()
		return nil, nil, fmt.Errorf("check store after an unclean stop: %w", err)
	}
	r.end(len(damaged) == 0)
	return j, damaged, nil
}

// Abandon leaves all to the next engine.
func (r *Recovery) Abandon() { r.end(false) }

// end lets go of the journals. They go themselves unless something has to be looked at again.
func (r *Recovery) end(whole bool) {
	for _, dir := range r.stale {
		end := dir.Release
		if whole {
			end = dir.Remove
		}
		if err := end(); err != nil {
			r.log.WithError(err).Warnf("store %s: the journal of an engine that is gone stays", dir.Path)
		}
	}
	r.stale = nil
	r.unlock()
}

// recover puts right what the engines of the journals left.
func (r *Recovery) recover(ctx context.Context, store storage.Store) (damaged map[string]error, err error) {
	var all *record
	for _, dir := range r.stale {
		one, err := readRecord(dir.Path)
		if err != nil {
			return nil, err
		}
		if one != nil {
			all = one.merge(all)
		}
	}
	if all == nil { // nothing was changed yet
		return nil, nil
	}
	return (&repair{store: store, log: r.log, record: all}).run(ctx)
}

// lock keeps other engines waiting that start just now: they must not serve before the store is checked.
func lock(ctx context.Context, base string, log logrus.FieldLogger) (unlock func(), err error) {
	f, err := os.Open(base)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil // there never was a journal
	}
	if err != nil {
		return nil, err
	}
	timer := time.NewTicker(pause)
	defer timer.Stop()
	for said := false; ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // nothing was written through it
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(&os.PathError{Op: "lock", Path: base, Err: err}, f.Close())
		}
		if !said {
			log.Infof("store %s: waiting for another imaged that checks it", base)
			said = true
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
}
