package progress

import (
	"sync"
	"time"
)

// Tracker counts how far one operation is. Make one with New. All methods are safe for concurrent use, and cheap
// enough to be called for every read of a stream.
type Tracker struct {
	mu       sync.Mutex // guards all below
	phase    Phase
	blobs    []*entry
	index    map[string]*entry
	planned  bool
	frozen   bool
	revision Revision
	changed  chan struct{} // closed at the next change; nil while nobody waits
	meter    meter
}

// entry is a Blob with what only the tracker needs.
type entry struct {
	Blob
	reached  int64 // the greatest Offset it ever had
	revision Revision
}

// New returns a Tracker of an operation that is in phase Resolving and knows no blob.
func New() *Tracker {
	return &Tracker{phase: Resolving, index: make(map[string]*entry)}
}

// SetPhase says what the operation is doing. While it is Transferring, snapshots say Unpacking as soon as
// everything has arrived and something is being unpacked.
func (t *Tracker) SetPhase(p Phase) {
	t.change(func() {
		if t.phase != p {
			t.phase = p
			t.touch(nil)
		}
	})
}

// Phase returns the phase that was set last.
func (t *Tracker) Phase() Phase {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase
}

// Add makes blobs known. One whose digest is known already stays as it is, but learns its size if it had none.
func (t *Tracker) Add(blobs ...Blob) {
	t.change(func() {
		for _, b := range blobs {
			t.add(b)
		}
	})
}

func (t *Tracker) add(b Blob) *entry {
	if e := t.index[b.Digest]; e != nil {
		if e.Size == nil && b.Size != nil {
			e.Size = b.Size
			t.touch(e)
		}
		return e
	}
	if b.State == "" {
		b.State = BlobWaiting
	}
	e := &entry{Blob: b, reached: b.Offset}
	t.blobs = append(t.blobs, e)
	t.index[b.Digest] = e
	t.touch(e)
	return e
}

// Planned says that all blobs are known now, so that totals mean something.
func (t *Tracker) Planned() {
	t.change(func() {
		if !t.planned {
			t.planned = true
			t.touch(nil)
		}
	})
}

// Start says that the blob's transfer begins, at its first byte, for the first time or anew.
func (t *Tracker) Start(digest string) {
	t.change(func() {
		e := t.entry(digest)
		e.State, e.Offset = BlobTransferring, 0
		t.touch(e)
	})
}

// Transferred counts n more bytes of the blob.
func (t *Tracker) Transferred(digest string, n int64) {
	if n <= 0 {
		return
	}
	t.change(func() {
		e := t.entry(digest)
		e.Offset += n
		e.reached = max(e.reached, e.Offset)
		t.meter.add(time.Now(), n)
		t.touch(e)
	})
}

// SetState says how far the blob is. A blob that is Skipped after bytes of it were transferred counts as Done.
func (t *Tracker) SetState(digest string, s State) {
	t.change(func() {
		e := t.entry(digest)
		if s == BlobSkipped && e.reached > 0 {
			s = BlobDone
		}
		if e.State != s {
			e.State = s
			t.touch(e)
		}
	})
}

// Freeze makes the tracker ignore every further change.
func (t *Tracker) Freeze() {
	t.change(func() { t.frozen = true })
}

// Changed returns the newest revision, and a channel that is closed when there is a newer one.
func (t *Tracker) Changed() (Revision, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.revision, t.changed
}

// Since returns how far the operation is, with the blobs that changed after r, and the revision this stands for.
func (t *Tracker) Since(r Revision) (Snapshot, Revision) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Snapshot{Phase: t.phase, BytesPerSecond: t.meter.rate(time.Now())}
	sum := summary{sized: t.planned}
	for _, e := range t.blobs {
		sum.add(e)
		if e.revision > r {
			s.Blobs = append(s.Blobs, e.Blob)
		}
	}
	if s.Phase == Transferring && sum.unpacking && !sum.moving {
		s.Phase = Unpacking
	}
	s.Done, s.Cached, s.LayersDone = sum.done, sum.cached, sum.layersDone
	if t.planned {
		s.LayersTotal = &sum.layers
	}
	if sum.sized {
		s.Total = &sum.total
	}
	return s, t.revision
}

// summary adds blobs up.
type summary struct {
	done, total, cached int64
	layers, layersDone  int
	moving, unpacking   bool // some blob is
	sized               bool // no blob without a size
}

func (s *summary) add(e *entry) {
	size := e.reached
	if e.Size != nil {
		size = max(*e.Size, e.reached)
	}
	s.sized = s.sized && (e.Size != nil || e.State == BlobDone)
	if e.State == BlobSkipped {
		s.cached += size
	} else {
		s.done += e.reached
		s.total += size
	}
	if e.Kind == Layer {
		s.layers++
		if e.State == BlobDone || e.State == BlobSkipped {
			s.layersDone++
		}
	}
	s.moving = s.moving || e.State == BlobWaiting || e.State == BlobTransferring
	s.unpacking = s.unpacking || e.State == BlobUnpacking
}

// change runs f under the lock, unless the tracker is frozen.
func (t *Tracker) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.frozen {
		f()
	}
}

// entry finds a blob, or makes an unforeseen one known.
func (t *Tracker) entry(digest string) *entry {
	if e := t.index[digest]; e != nil {
		return e
	}
	return t.add(Blob{Digest: digest, Kind: Other})
}

// touch records a change, of e unless that is nil, and wakes those who wait for one.
func (t *Tracker) touch(e *entry) {
	t.revision++
	if e != nil {
		e.revision = t.revision
	}
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}
