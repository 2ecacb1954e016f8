package engine

import (
	"sync/atomic"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
)

// Names of the limits of calls on images, as errdefs.LimitExceeded carries them. Their values are fixed.
const (
	// LimitNames is how many images one call may name.
	LimitNames = "images.names"
	// LimitImageTags is how many references one call may give to an image or take away.
	LimitImageTags = "images.tags"
	// LimitFilters is how many filters one call may have.
	LimitFilters = "images.filters"
	// LimitDiffBytes is how much memory one comparison of images may take.
	LimitDiffBytes = "images.diffBytes"
	// LimitDiffs is how many comparisons may run at once.
	LimitDiffs = "images.diffs"
)

const (
	maxNames   = 10_000
	maxTags    = 1_000
	maxFilters = 1_000

	maxDiffBytes = 256 << 20
	maxDiffs     = 8
	maxWatchers  = 1_000
	maxQueue     = 1_000
)

// imageLimits are the limits of calls on images.
func imageLimits() []Limit {
	return []Limit{
		{LimitNames, maxNames, "names", "images that one call names"},
		{LimitImageTags, maxTags, "references", "references that one call gives to an image or takes away"},
		{LimitFilters, maxFilters, "filters", "filters of one call"},
		{LimitDiffBytes, maxDiffBytes, "bytes", "memory that one comparison of images takes"},
		{LimitDiffs, maxDiffs, "comparisons", "comparisons of images that run at once"},
		{events.LimitSubscribers, maxWatchers, "watchers", "clients that watch images"},
		{events.LimitQueue, maxQueue, "events", "events that wait for a client that watches images; one that leaves more is dropped"},
	}
}

func checkLimit(name string, n, limit int) error {
	if n > limit {
		return &errdefs.LimitExceeded{Limit: name, Value: int64(limit)}
	}
	return nil
}

// diffSlots count the comparisons that run. The zero value is ready for use.
type diffSlots struct{ taken atomic.Int64 }

// enter takes a slot until leave is called, or fails with *errdefs.LimitExceeded.
func (s *diffSlots) enter() (leave func(), err error) {
	if s.taken.Add(1) > maxDiffs {
		s.taken.Add(-1)
		return nil, &errdefs.LimitExceeded{Limit: LimitDiffs, Value: maxDiffs}
	}
	return func() { s.taken.Add(-1) }, nil
}
