package recovery

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/imaged-project/imaged/engine/owned"
)

// folder is where journals lie in a store's root, each in a folder of its own that begins with prefix.
const (
	folder = "imaged"
	prefix = "engine-"
)

// newer is how much newer than the last one a clean point has to be, to be worth writing down.
const newer = time.Minute

// Journal tells the next engine what this one was doing. Nothing is written before the first change. It is safe for
// concurrent use.
type Journal struct {
	root string // the store's

	mu      sync.Mutex // guards what follows; held while the record is written, so that it is never older than what was said
	dir     *owned.Dir // nil: no change yet
	record  record
	busy    int  // changes that run
	settled bool // the record says less than what was written down
	durable bool // the record is on the disk, not only written
}

// Change says that the store is about to get new content, and returns once the journal has that on the disk. The caller
// calls done when the change is over. On an error the change must not be made.
func (j *Journal) Change() (done func(), err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	if j.dir == nil || !j.durable || now.Before(j.record.Clean) { // the last: the clock was put back
		if j.dir == nil || now.Before(j.record.Clean) {
			j.record.Clean = now
		}
		if err := j.write(true); err != nil {
			return nil, err
		}
	}
	j.busy++
	return sync.OnceFunc(func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.busy--
	}), nil
}

// Note takes down layers or images that are about to be made or removed: should that end half way, the next engine
// removes those that nothing uses. It is on the disk no later than what the file system writes down after it.
func (j *Journal) Note(ids ...string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	added := false
	for _, id := range ids {
		if _, ok := j.record.Touched[id]; !ok && id != "" {
			if j.record.Touched == nil {
				j.record.Touched = make(map[string]bool)
			}
			j.record.Touched[id], added = true, true
		}
	}
	if !added {
		return nil
	}
	return j.write(!j.durable)
}

// Quiet returns the time if no change runs now: all that was changed before it will be on the disk once a sync that
// begins now has ended well. Otherwise it returns the zero time.
func (j *Journal) Quiet() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.busy > 0 {
		return time.Time{}
	}
	return time.Now()
}

// Clean says that a sync that began at a quiet time has ended well.
func (j *Journal) Clean(quiet time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dir == nil || quiet.IsZero() || quiet.Sub(j.record.Clean) < newer {
		return
	}
	old := j.record
	j.record.Clean = quiet
	if err := j.write(true); err != nil {
		j.record = old // it is still true
	}
}

// Forget drops what was noted, when it is made or removed. It is written down at the next occasion.
func (j *Journal) Forget(ids ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range ids {
		delete(j.record.Touched, id)
	}
}

// Settle drops images that were noted, since they are what they were to become. Flush writes that down.
func (j *Journal) Settle(ids ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range ids {
		j.settled = j.settled || j.record.Touched[id]
		delete(j.record.Touched, id)
	}
}

// Flush writes down what was settled: else the next engine could take an image that was acknowledged for half made. It is on
// the disk when the file system is.
func (j *Journal) Flush() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dir == nil || !j.settled {
		return nil
	}
	return j.write(false)
}

// Noted returns what was noted and not forgotten.
func (j *Journal) Noted() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.record.touched()
}

// Changed tells whether anything was said to it.
func (j *Journal) Changed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.dir != nil
}

// Suspect says that a sync has failed: even without a power cut the next engine has to look at the content.
func (j *Journal) Suspect() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dir == nil {
		return nil
	}
	j.record.Disk = unknownDisk
	return j.write(true)
}

// Close ends the journal. If all is on the disk it goes; else it stays for the next engine.
func (j *Journal) Close(clean bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dir == nil {
		return nil
	}
	dir := j.dir
	j.dir = nil
	if !clean {
		return dir.Release()
	}
	return dir.Remove()
}

// write writes the record, whole or not at all; with sync it is on the disk then.
func (j *Journal) write(sync bool) error {
	base := filepath.Join(j.root, folder)
	if j.dir == nil {
		if err := os.MkdirAll(base, 0o700); err != nil {
			return err
		}
		dir, err := owned.Make(owned.Name(base, prefix))
		if err != nil {
			return err
		}
		j.dir = dir
		if j.record.Clean.IsZero() {
			j.record.Clean = time.Now()
		}
		j.record.Disk = diskOf(j.root)
	}
	if err := j.record.write(j.dir.Path, sync); err != nil {
		return err
	}
	j.durable, j.settled = j.durable || sync, false
	if !sync {
		return nil
	}
	return syncFolders(base, j.root)
}

// touched returns what was noted.
func (r *record) touched() []string { return slices.Sorted(maps.Keys(r.Touched)) }
