package engine

import (
	"cmp"
	"sync/atomic"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// Names of the limits of calls on images, as errdefs.LimitExceeded carries them.
const (
	// LimitNames is ImageLimits.Names.
	LimitNames = "images.names"
	// LimitImageTags is ImageLimits.Tags.
	LimitImageTags = "images.tags"
	// LimitFilters is ImageLimits.Filters.
	LimitFilters = "images.filters"
	// LimitDiffBytes is ImageLimits.DiffBytes.
	LimitDiffBytes = "images.diffBytes"
	// LimitDiffs is ImageLimits.Diffs.
	LimitDiffs = "images.diffs"
)

// ImageLimits bound what calls on images ask for. Zero fields stand for their defaults.
type ImageLimits struct {
	// Names is how many images one call may name. Zero: 10,000.
	Names int
	// Tags is how many references one call may give to an image or take away. Zero: 1,000.
	Tags int
	// Filters is how many filters one call may have. Zero: 1,000.
	Filters int
	// DiffBytes is how much memory one comparison of images may take. Zero: 256 MiB.
	DiffBytes int64
	// Diffs is how many comparisons may run at once. Zero: 8.
	Diffs int64
	// Watchers is how many clients may watch images. Zero: 1,000.
	Watchers int
	// WatchQueue is how many events may wait for a client that watches images. Zero: 1,000.
	WatchQueue int
}

func (l *ImageLimits) defaults() {
	l.Names = cmp.Or(l.Names, 10_000)
	l.Tags = cmp.Or(l.Tags, 1000)
	l.Filters = cmp.Or(l.Filters, 1000)
	l.DiffBytes = cmp.Or(l.DiffBytes, 256<<20)
	l.Diffs = cmp.Or(l.Diffs, 8)
	l.Watchers = cmp.Or(l.Watchers, 1000)
	l.WatchQueue = cmp.Or(l.WatchQueue, 1000)
}

func checkLimit(name string, n, limit int) error {
	if n > limit {
		return &errdefs.LimitExceeded{Limit: name, Value: int64(limit)}
	}
	return nil
}

// diffSlots count the comparisons that run. The zero value is ready for use.
type diffSlots struct{ taken atomic.Int64 }

// enter takes a slot of so many until leave is called, or fails with *errdefs.LimitExceeded.
func (s *diffSlots) enter(limit int64) (leave func(), err error) {
	if s.taken.Add(1) > limit {
		s.taken.Add(-1)
		return nil, &errdefs.LimitExceeded{Limit: LimitDiffs, Value: limit}
	}
	return func() { s.taken.Add(-1) }, nil
}
