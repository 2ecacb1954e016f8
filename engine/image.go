package engine

import (
	"time"

	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/names"
)

// Image is one image of the store. Its slices and maps are shared: nobody changes them.
type Image struct {
	// ID is the image's id, 64 hexadecimal digits.
	ID string
	// Digest is that of the manifest the image is stored with. Empty if it is not known.
	Digest string
	// Digests are those of all manifests the image is known by.
	Digests []string
	// Names are the references that name it, normalised.
	Names []string
	// NamesHistory are references that named it before.
	NamesHistory []string
	// Created is when it was made, in UTC.
	Created time.Time
	// Size is how many bytes its layers and its metadata have, uncompressed.
	Size int64
	// SharedSize is how many bytes of its layers other images use, too.
	SharedSize int64
	// Parent is the id of the image it was built on. Empty if that is not in the store.
	Parent string
	// TopLayer is the id of its topmost layer. Empty if it has none.
	TopLayer string
	// Labels are its configuration's.
	Labels map[string]string
	// Containers is how many containers were made from it.
	Containers int
	// Dangling is true if no name points to it, no image is built on it and no manifest list names it.
	Dangling bool
	// Intermediate is true if no name points to it and an image is built on it.
	Intermediate bool
	// IsParent is true if an image is built on it.
	IsParent bool
	// ReadOnly is true if it lies in an additional store.
	ReadOnly bool
	// ManifestList is true if it is a list of images for several platforms.
	ManifestList bool
	// Platform is what it was made for. Nil of a manifest list, or if it is not known.
	Platform *names.Platform
}

// newImage makes the record of an image of the index.
func newImage(img *index.Image) Image {
	r := Image{
		ID: img.ID, Digest: img.Digest, Digests: img.Digests, Names: img.Names, NamesHistory: img.NamesHistory,
		Created: img.Created.UTC(), Size: img.Size, SharedSize: img.SharedSize, TopLayer: img.TopLayer,
		Containers: len(img.Containers), Dangling: img.Dangling(), Intermediate: img.Intermediate(),
		IsParent: img.IsParent, ReadOnly: img.ReadOnly, ManifestList: img.Facts.List,
	}
	if img.Parent != nil {
		r.Parent = img.Parent.ID
	}
	if c := img.Facts.Config; c != nil {
		r.Labels = c.Run.Labels
		r.Platform = new(platformOf(img))
	}
	return r
}

// platformOf returns what an image was made for; zero if it is not known.
func platformOf(img *index.Image) names.Platform {
	c := img.Facts.Config
	if c == nil {
		return names.Platform{}
	}
	return names.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}
}
