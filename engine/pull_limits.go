package engine

import (
	"cmp"

	"github.com/imaged-project/imaged/engine/staging"
)

// Names of the limits of a pull, as errdefs.LimitExceeded carries them.
const (
	// LimitManifestBytes is PullLimits.ManifestBytes.
	LimitManifestBytes = "pull.manifestBytes"
	// LimitConfigBytes is PullLimits.ConfigBytes.
	LimitConfigBytes = "pull.configBytes"
	// LimitLayers is PullLimits.Layers.
	LimitLayers = "pull.layers"
	// LimitLayerBytes is PullLimits.LayerBytes.
	LimitLayerBytes = "pull.layerBytes"
	// LimitImageBytes is PullLimits.ImageBytes.
	LimitImageBytes = "pull.imageBytes"
	// LimitTags is PullLimits.Tags.
	LimitTags = "pull.tags"
	// LimitLayerUnpackedBytes is PullLimits.Unpacked.LayerBytes.
	LimitLayerUnpackedBytes = staging.LimitLayerBytes
	// LimitImageUnpackedBytes is PullLimits.Unpacked.ImageBytes.
	LimitImageUnpackedBytes = staging.LimitImageBytes
	// LimitLayerEntries is PullLimits.Unpacked.LayerEntries.
	LimitLayerEntries = staging.LimitLayerEntries
)

// PullLimits bound what a registry can make a pull do. Zero fields stand for their defaults.
type PullLimits struct {
	// ManifestBytes is how long a manifest may be. Zero: 4 MiB, which is also the most.
	ManifestBytes int64
	// ConfigBytes is how long an image's configuration may be. Zero: 4 MiB, which is also the most.
	ConfigBytes int64
	// Layers is how many layers an image may have. Zero: 500, the most that overlayfs mounts, and so the most here.
	Layers int64
	// LayerBytes is how long a layer may be, as transferred. Zero: 64 GiB.
	LayerBytes int64
	// ImageBytes is how long all layers of an image may be together, as transferred. Zero: 256 GiB.
	ImageBytes int64
	// Tags is how many tags of a repository may be pulled at once. Zero: 1,000.
	Tags int64
	// Unpacked bounds what layers unpack to.
	Unpacked staging.Limits
	// FreeBytes is how much stays free on the store's file system and on that of temporary files: what would take
	// more is stopped. Zero: 64 MiB.
	FreeBytes int64
}

func (l *PullLimits) defaults() {
	const mib, gib = 1 << 20, 1 << 30
	l.ManifestBytes = min(cmp.Or(l.ManifestBytes, 4*mib), 4*mib)
	l.ConfigBytes = min(cmp.Or(l.ConfigBytes, 4*mib), 4*mib)
	l.Layers = min(cmp.Or(l.Layers, 500), 500)
	l.LayerBytes = cmp.Or(l.LayerBytes, 64*gib)
	l.ImageBytes = cmp.Or(l.ImageBytes, 256*gib)
	l.Tags = cmp.Or(l.Tags, 1000)
	l.Unpacked.Defaults()
	l.FreeBytes = cmp.Or(l.FreeBytes, 64*mib)
}

// PullLimits returns the limits that are in force.
func (e *Engine) PullLimits() PullLimits { return e.pullLimits }
