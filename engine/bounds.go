package engine

import (
	"fmt"
	"math"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/events"
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
func bounds(j *jobs.Options, i *ImageLimits, p *PullLimits, a *archives.Limits) []bound {
	return []bound{
		limit(&i.Names, LimitNames, "names", "images that one call names"),
		limit(&i.Tags, LimitImageTags, "references", "references that one call gives to an image or takes away"),
		limit(&i.Filters, LimitFilters, "filters", "filters of one call"),
		limit(&i.DiffBytes, LimitDiffBytes, "bytes", "memory that one comparison of images takes"),
		limit(&i.Diffs, LimitDiffs, "comparisons", "comparisons of images that run at once"),
		limit(&i.Watchers, events.LimitSubscribers, "watchers", "clients that watch images"),
		limit(&i.WatchQueue, events.LimitQueue, "events", "events that wait for a client that watches images; one that leaves more is dropped"),
		limit(&j.MaxRunning, jobs.LimitRunning, "jobs", "jobs that run at once"),
		limit(&j.MaxWatchers, jobs.LimitWatchers, "watchers", "clients that watch one job"),
		limit(&j.MaxFinished, "jobs.finished", "jobs", "finished jobs that are remembered; the oldest go first"),
		limit(&p.ManifestBytes, LimitManifestBytes, "bytes", "length of a manifest; 4 MiB at most"),
		limit(&p.ConfigBytes, LimitConfigBytes, "bytes", "length of an image's configuration; 4 MiB at most"),
		limit(&p.Layers, LimitLayers, "layers", "layers of an image; 500 at most"),
		limit(&p.LayerBytes, LimitLayerBytes, "bytes", "length of a layer, as transferred"),
		limit(&p.ImageBytes, LimitImageBytes, "bytes", "length of all layers of an image, as transferred"),
		limit(&p.Tags, LimitTags, "tags", "tags of a repository that are pulled at once"),
		limit(&p.Unpacked.LayerBytes, LimitLayerUnpackedBytes, "bytes", "length of a layer once it is decompressed, and of its files"),
		limit(&p.Unpacked.ImageBytes, LimitImageUnpackedBytes, "bytes", "the same for all layers of an image that are unpacked"),
		limit(&p.Unpacked.LayerEntries, LimitLayerEntries, "files", "files of a layer"),
		limit(&p.FreeBytes, LimitFreeBytes, "bytes", "room that stays free on the disks of the store and of temporary files"),
		limit(&a.Bytes, archives.LimitBytes, "bytes", "length of an archive once it is decompressed"),
		limit(&a.Ratio, archives.LimitRatio, "times", "how many times as long as it came an archive or a layer in it may become, beyond a gibibyte"),
		limit(&a.Entries, archives.LimitEntries, "files", "entries of an archive"),
		limit(&a.DocumentBytes, archives.LimitDocumentBytes, "bytes", "length of a manifest, an index or a configuration in an archive; 4 MiB at most"),
		limit(&a.Images, archives.LimitImages, "images", "images of an archive"),
		limit(&a.Names, archives.LimitNames, "names", "names of all images of an archive"),
		limit(&a.Layers, archives.LimitLayers, "layers", "layers of an image in an archive; 500 at most"),
		limit(&a.LayerBytes, archives.LimitLayerBytes, "bytes", "length of a layer in an archive once it is decompressed, and of its files"),
		limit(&a.LayerEntries, archives.LimitLayerEntries, "files", "files of a layer in an archive"),
	}
}

// SetLimit sets the limit of that name for the engine that is opened with o. It fails if there is none, or if the value
// is not positive.
func (o *Options) SetLimit(name string, value int64) error {
	if value <= 0 || value > math.MaxInt64/2 {
		return fmt.Errorf("limit %s: %d: it must be positive, and there is no way to have none", name, value)
	}
	for _, b := range bounds(&o.Jobs, &o.Images, &o.Pull, &o.Archives) {
		if b.Name == name {
			b.set(value)
			return nil
		}
	}
	return fmt.Errorf("limit %s: there is no limit of that name; io.imaged.info.GetLimits lists them", name)
}

// Limits returns the limits that are in force.
func (e *Engine) Limits() []Limit {
	j, i, p, a := e.jobs.Limits(), e.imageLimits, e.pullLimits, e.archiveLimits
	var all []Limit
	for _, b := range bounds(&j, &i, &p, &a) {
		all = append(all, b.Limit)
	}
	return all
}
