package archives

import (
	"cmp"

	"github.com/imaged-project/imaged/engine/archives/spool"
	"github.com/imaged-project/imaged/engine/archives/tarindex"
)

// Names of the limits, as errdefs.LimitExceeded carries them.
const (
	// LimitBytes is Limits.Bytes.
	LimitBytes = spool.LimitBytes
	// LimitRatio is Limits.Ratio.
	LimitRatio = spool.LimitRatio
	// LimitEntries is Limits.Entries.
	LimitEntries = tarindex.LimitEntries
	// LimitDocumentBytes is Limits.DocumentBytes.
	LimitDocumentBytes = "archive.documentBytes"
	// LimitImages is Limits.Images.
	LimitImages = "archive.images"
	// LimitNames is Limits.Names.
	LimitNames = "archive.names"
	// LimitLayers is Limits.Layers.
	LimitLayers = "archive.layers"
	// LimitLayerBytes is Limits.LayerBytes.
	LimitLayerBytes = "archive.layerBytes"
	// LimitLayerEntries is Limits.LayerEntries.
	LimitLayerEntries = "archive.layerEntries"
)

// Limits bound what an archive can make us do. Zero fields stand for their defaults.
type Limits struct {
	// Bytes is how long an archive may be once it is decompressed. Zero: 256 GiB.
	Bytes int64
	// Ratio is how many times as long as it came an archive, or a layer in it, may become, once that is more than
	// a gibibyte. Zero: 1,100, a little more than gzip can do.
	Ratio int64
	// Entries is how many entries an archive may have. Zero: 100,000.
	Entries int64
	// DocumentBytes is how long a manifest, an index or a configuration may be. Zero: 4 MiB, which is also the most.
	DocumentBytes int64
	// Images is how many images an archive may have. Zero: 1,000.
	Images int64
	// Names is how many names the images of an archive may have together. Zero: 10,000.
	Names int64
	// Layers is how many layers an image may have. Zero: 500, the most that overlayfs mounts, and so the most here.
	Layers int64
	// LayerBytes is how long a layer may be, decompressed, and how long its files may be together. Zero: 256 GiB.
	LayerBytes int64
	// LayerEntries is how many files a layer may have. Zero: 10,000,000.
	LayerEntries int64
}

// Defaults puts the defaults in for fields that are zero.
func (l *Limits) Defaults() {
	l.Bytes = cmp.Or(l.Bytes, 256<<30)
	l.Ratio = cmp.Or(l.Ratio, 1100)
	l.Entries = cmp.Or(l.Entries, 100_000)
	l.DocumentBytes = min(cmp.Or(l.DocumentBytes, 4<<20), 4<<20)
	l.Images = cmp.Or(l.Images, 1000)
	l.Names = cmp.Or(l.Names, 10_000)
	l.Layers = min(cmp.Or(l.Layers, 500), 500)
	l.LayerBytes = cmp.Or(l.LayerBytes, 256<<30)
	l.LayerEntries = cmp.Or(l.LayerEntries, 10_000_000)
}
