package engine

import (
	"fmt"
	"math"

	"github.com/imaged-project/imaged/engine/jobs"
)

// Limit is one limit that is in force.
type Limit struct {
	// Name is what errdefs.LimitExceeded calls it.
	Name string
	// Value is the most that is allowed.
	Value int64
	// Unit is what is counted.
	Unit string
	// Description says what it bounds.
	Description string
}

// bound is a limit and where its value is kept.
type bound struct {
	Limit
	set func(int64)
}

func limit[T ~int | ~int64](at *T, name, unit, description string) bound {
	return bound{Limit{name, int64(*at), unit, description}, func(v int64) { *at = T(v) }}
}

// bounds are all limits of an engine.
func bounds(j *jobs.Options, p *PullLimits) []bound {
	return []bound{
		limit(&j.MaxRunning, jobs.LimitRunning, "jobs", "jobs that run at once"),
		limit(&j.MaxWatchers, jobs.LimitWatchers, "watchers", "clients that watch one job"),
		limit(&j.MaxFinished, "jobs.finished", "jobs", "finished jobs that are remembered; the oldest go first"),
		limit(&p.ManifestBytes, LimitManifestBytes, "bytes", "length of a manifest; 4 MiB at most"),
		limit(&p.ConfigBytes, LimitConfigBytes, "bytes", "length of an image's configuration; 4 MiB at most"),
		limit(&p.Layers, LimitLayers, "layers", "layers of an image; 500 at most"),
		limit(&p.LayerBytes, LimitLayerBytes, "bytes", "length of a layer, as transferred"),
		limit(&p.ImageBytes, LimitImageBytes, "bytes", "length of all layers of an image, as transferred"),
		limit(&p.Tags, LimitTags, "tags", "tags of a repository that are pulled at once"),
		limit(&p.ArchiveBytes, LimitArchiveBytes, "bytes", "length of an archive once it is decompressed"),
		limit(&p.ArchiveEntries, LimitArchiveEntries, "files", "files of an archive"),
	}
}

// SetLimit sets the limit of that name for the engine that is opened with o. It fails if there is none, or if the value
// is not positive.
func (o *Options) SetLimit(name string, value int64) error {
	if value <= 0 || value > math.MaxInt64/2 {
		return fmt.Errorf("limit %s: %d: it must be positive, and there is no way to have none", name, value)
	}
	for _, b := range bounds(&o.Jobs, &o.Pull) {
		if b.Name == name {
			b.set(value)
			return nil
		}
	}
	return fmt.Errorf("limit %s: there is no limit of that name; io.imaged.info.GetLimits lists them", name)
}

// Limits returns the limits that are in force.
func (e *Engine) Limits() []Limit {
	j, p := e.jobs.Limits(), e.pullLimits
	all := imageLimits()
	for _, b := range bounds(&j, &p) {
		all = append(all, b.Limit)
	}
	return all
}
