package staging

import (
	"cmp"
	"sync/atomic"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// Names of the limits, as errdefs.LimitExceeded carries them.
const (
	// LimitLayerBytes is Limits.LayerBytes.
	LimitLayerBytes = "pull.layerUnpackedBytes"
	// LimitImageBytes is Limits.ImageBytes.
	LimitImageBytes = "pull.imageUnpackedBytes"
	// LimitLayerEntries is Limits.LayerEntries.
	LimitLayerEntries = "pull.layerEntries"
)

// Limits bound what layers unpack to. Zero fields stand for their defaults.
type Limits struct {
	// LayerBytes is how long a layer may be, decompressed, and how long its files may be together: a sparse one is as
	// long as it says. Zero: 256 GiB.
	LayerBytes int64
	// ImageBytes is the same for all layers of an image together. Zero: 1 TiB.
	ImageBytes int64
	// LayerEntries is how many files a layer may have, with folders that no entry of their own tells of. Zero:
	// 10,000,000.
	LayerEntries int64
}

// Defaults puts the defaults in for fields that are zero.
func (l *Limits) Defaults() {
	l.LayerBytes = cmp.Or(l.LayerBytes, 256<<30)
	l.ImageBytes = cmp.Or(l.ImageBytes, 1<<40)
	l.LayerEntries = cmp.Or(l.LayerEntries, 10_000_000)
}

// roomStep is after how many bytes of a layer room is asked for again.
const roomStep = 1 << 20

// Budget is what is left of an image's limits. It is safe for concurrent use.
type Budget struct {
	limits Limits
	room   func() error
	used   atomic.Int64 // bytes, of all layers
}

// NewBudget makes the budget of one image. Room is asked again and again whether there is room for more on the disk; its
// error ends the layer. Nil: there is.
func NewBudget(l Limits, room func() error) *Budget {
	l.Defaults()
	return &Budget{limits: l, room: room}
}

// take counts more bytes of the image.
func (b *Budget) take(n int64) error {
	if b.used.Add(n) > b.limits.ImageBytes {
		return &errdefs.LimitExceeded{Limit: LimitImageBytes, Value: b.limits.ImageBytes}
	}
	return nil
}

// account is one layer's part of a budget. It counts the longer one of the stream and the files in it.
type account struct {
	*Budget
	stream, files, entries, counted int64
}

// bytes counts bytes of the stream.
func (a *account) bytes(n int64) error {
	before := a.stream
	a.stream += n
	if a.room != nil && before/roomStep != a.stream/roomStep {
		if err := a.room(); err != nil {
			return err
		}
	}
	return a.settle()
}

// file counts an entry, and the folders that have to be made for it.
func (a *account) file(size, entries int64) error {
	if a.entries += entries; a.entries > a.limits.LayerEntries {
		return &errdefs.LimitExceeded{Limit: LimitLayerEntries, Value: a.limits.LayerEntries}
	}
	if size > a.limits.LayerBytes-min(a.files, a.limits.LayerBytes) {
		return &errdefs.LimitExceeded{Limit: LimitLayerBytes, Value: a.limits.LayerBytes}
	}
	a.files += max(size, 0)
	return a.settle()
}

func (a *account) settle() error {
	longer := max(a.stream, a.files)
	if longer > a.limits.LayerBytes {
		return &errdefs.LimitExceeded{Limit: LimitLayerBytes, Value: a.limits.LayerBytes}
	}
	more := longer - a.counted
	a.counted = longer
	return a.take(more)
}
