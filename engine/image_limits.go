package engine

import "github.com/imaged-project/imaged/engine/errdefs"

// Names of the limits of calls on images, as errdefs.LimitExceeded carries them. Their values are fixed.
const (
	// LimitNames is how many images one call may name.
	LimitNames = "images.names"
	// LimitImageTags is how many references one call may give to an image or take away.
	LimitImageTags = "images.tags"
	// LimitFilters is how many filters one call may have.
	LimitFilters = "images.filters"
)

const (
	maxNames   = 10_000
	maxTags    = 1_000
	maxFilters = 1_000
)

// imageLimits are the limits of calls on images.
func imageLimits() []Limit {
	return []Limit{
		{LimitNames, maxNames, "names", "images that one call names"},
		{LimitImageTags, maxTags, "references", "references that one call gives to an image or takes away"},
		{LimitFilters, maxFilters, "filters", "filters of one call"},
	}
}

func checkLimit(name string, n, limit int) error {
	if n > limit {
		return &errdefs.LimitExceeded{Limit: name, Value: int64(limit)}
	}
	return nil
}
