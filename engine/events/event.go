package events

import "time"

// Kind is what happened to an image.
type Kind string

// The kinds.
const (
	// Pulled is an image that came from a registry or, for all that is known, through another program.
	Pulled Kind = "pulled"
	// PullFailed is one that did not come. ID is empty, Err says why.
	PullFailed Kind = "pull_failed"
	// Pushed is an image that was copied to a registry.
	Pushed Kind = "pushed"
	// Loaded is one that came from an archive.
	Loaded Kind = "loaded"
	// Saved is one that was written to an archive.
	Saved Kind = "saved"
	// Imported is one that was made of a root file system.
	Imported Kind = "imported"
	// Built is one that a build made.
	Built Kind = "built"
	// Committed is one that was made of a container.
	Committed Kind = "committed"
	// Tagged is a name that an image got.
	Tagged Kind = "tagged"
	// Untagged is a name that an image lost.
	Untagged Kind = "untagged"
	// Removed is an image that is gone, after its names.
	Removed Kind = "removed"
	// Mounted and Unmounted are not told yet by anybody.
	Mounted Kind = "mounted"
	// Unmounted see Mounted.
	Unmounted Kind = "unmounted"
)

// Kinds are all kinds.
var Kinds = []Kind{
	Pulled, PullFailed, Pushed, Loaded, Saved, Imported, Built, Committed, Tagged, Untagged, Removed, Mounted, Unmounted,
}

// creates tells whether an event of the kind says that an image is in the store now.
func (k Kind) creates() bool {
	switch k {
	case Pulled, Loaded, Imported, Built, Committed:
		return true
	}
	return false
}

// Event is what happened to an image.
type Event struct {
	// Kind is what happened.
	Kind Kind
	// ID is the image's id. Empty if there is no image.
	ID string
	// Name is the reference that was concerned. Empty if none was.
	Name string
	// Time is when. Zero in what is published: now.
	Time time.Time
	// Err is why it failed; nil unless it did.
	Err error
}
