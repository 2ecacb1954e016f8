package index

import (
	"cmp"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"time"
)

// Image is an image as a snapshot has it. Nobody changes it or what it points to.
type Image struct {
	// ID is the image's id: the digest of its configuration, except for manifest lists.
	ID string
	// Digest is that of the manifest the image is stored with. Empty if it is not known.
	Digest string
	// Digests are those of all manifests that the image is known by.
	Digests []string
	// Names are its references.
	Names []string
	// NamesHistory are references it had before.
	NamesHistory []string
	// TopLayer is the id of the topmost layer. Empty for an image without layers.
	TopLayer string
	// Created is when it was made.
	Created time.Time
	// Size is how many bytes its layers and data have, uncompressed. Layers of unknown size do not count.
	Size int64
	// SharedSize is how many bytes of its layers other images use, too.
	SharedSize int64
	// ReadOnly is true if it lies in an additional store.
	ReadOnly bool
	// Parent is the image it was built on; nil if that is not in the store.
	Parent *Image
	// IsParent is true if another image was built on it.
	IsParent bool
	// InList is true if a manifest list of the store names it.
	InList bool
	// Containers are the ids of the containers made from it.
	Containers []string
	// Facts are what its data says; never nil.
	Facts *Facts

	layers []layerRecord     // topmost first
	data   map[string]string // digests of its data by name
	folder string            // where its data lies
}

// Dangling tells whether nothing points to the image: no name, no image built on it, no manifest list.
func (img *Image) Dangling() bool { return len(img.Names) == 0 && !img.IsParent && !img.InList }

// Intermediate tells whether the image has no name, but an image was built on it.
func (img *Image) Intermediate() bool { return len(img.Names) == 0 && img.IsParent }

// LayerSizes returns the sizes of the image's layers in bytes, topmost first.
func (img *Image) LayerSizes() []int64 {
	sizes := make([]int64, 0, len(img.layers))
	for _, l := range img.layers {
		sizes = append(sizes, max(l.Size, 0))
	}
	return sizes
}

// Snapshot is what a store held at one moment. It never changes.
type Snapshot struct {
	images   []*Image // newest first
	byID     map[string]*Image
	byName   map[string]*Image
	byDigest map[string][]*Image
	byChain  map[uint64][]*Image // by all steps of their history
	ids      []string            // sorted
}

// build makes a snapshot of the records read last. It tells whether there are images that were not seen like this before
// and lack something. With careful it leaves them out, or as they were before.
func (x *Index) build(careful bool) (s *Snapshot, incomplete bool) {
	s = &Snapshot{
		byID: make(map[string]*Image), byName: make(map[string]*Image),
		byDigest: make(map[string][]*Image), byChain: make(map[uint64][]*Image),
	}
	for i, t := range x.images {
		for _, r := range t.records {
			if r.ID == "" || s.byID[r.ID] != nil {
				continue // the same image in an additional store
			}
			img := newImage(&r, x.places[i])
			img.layers = x.layersOf(r.TopLayer)
			s.byID[r.ID] = img
			s.images = append(s.images, img)
		}
	}
	incomplete = x.load(s.images, careful)
	s.images = slices.DeleteFunc(s.images, func(img *Image) bool { return img.Facts == nil })
	maps.DeleteFunc(s.byID, func(_ string, img *Image) bool { return img.Facts == nil })
	x.forget(s)
	s.index()
	s.relate()
	s.measure(x.known)
	s.count(x.containers)
	return s, incomplete
}

func newImage(r *imageRecord, p Place) *Image {
	img := &Image{
		ID: r.ID, Digest: r.Digest, Digests: digests(r), Names: r.Names, NamesHistory: r.NamesHistory,
		TopLayer: r.TopLayer, Created: r.Created, ReadOnly: p.ReadOnly,
		data: r.BigDataDigests, folder: filepath.Join(p.Images, filepath.Base(r.ID)),
	}
	if d := r.BigDataDigests[manifestKey]; img.Digest == "" {
		img.Digest = d
	}
	for _, n := range r.BigDataSizes {
		img.Size += max(n, 0)
	}
	return img
}

// layersOf returns the layers from the topmost down, as far as they are known.
func (x *Index) layersOf(top string) []layerRecord {
	var layers []layerRecord
	for id := top; id != "" && len(layers) <= len(x.known); { // no more than there are: a broken store may have a ring
		l, ok := x.known[id]
		if !ok {
			break
		}
		layers = append(layers, l)
		id = l.Parent
	}
	return layers
}

func (s *Snapshot) index() {
	slices.SortStableFunc(s.images, func(a, b *Image) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	for _, img := range s.images {
		s.ids = append(s.ids, img.ID)
		for _, d := range img.Digests {
			s.byDigest[d] = append(s.byDigest[d], img)
		}
		for _, name := range img.Names {
			if other := s.byName[name]; other == nil || other.ReadOnly {
				s.byName[name] = img
			}
		}
		if c := img.Facts.Config; c != nil {
			end := c.chain[len(c.chain)-1]
			s.byChain[end] = append(s.byChain[end], img)
		}
	}
	slices.Sort(s.ids)
}

// relate finds out which image was built on which, and which ones manifest lists name.
func (s *Snapshot) relate() {
	for _, img := range s.images {
		for _, in := range img.Facts.Instances {
			for _, member := range s.byDigest[in.Digest] {
				member.InList = true
			}
		}
		c := img.Facts.Config
		if c == nil || len(c.History) == 0 {
			continue
		}
		for _, p := range s.byChain[c.chain[len(c.History)-1]] {
			if p == img || !isParent(p, img) {
				continue
			}
			p.IsParent = true
			if img.Parent == nil {
				img.Parent = p
			}
		}
	}
}

// isParent tells whether an image whose history is the child's without its last step is the one it was built on: its
// layers must be the child's, in the store as well as in the configuration.
func isParent(p, child *Image) bool {
	if p.TopLayer != child.TopLayer && (len(child.layers) == 0 || child.layers[0].Parent != p.TopLayer) {
		return false
	}
	ids, childIDs := p.Facts.Config.RootFS.DiffIDs, child.Facts.Config.RootFS.DiffIDs
	return len(ids) <= len(childIDs) && slices.Equal(ids, childIDs[:len(ids)])
}

// measure computes sizes.
func (s *Snapshot) measure(known map[string]layerRecord) {
	users := make(map[string]int, len(known))
	for _, img := range s.images {
		for _, l := range img.layers {
			users[l.ID]++
		}
	}
	for _, img := range s.images {
		for _, l := range img.layers {
			n := max(l.Size, 0)
			img.Size += n
			if users[l.ID] > 1 {
				img.SharedSize += n
			}
		}
	}
}

func (s *Snapshot) count(tables []*table[containerRecord]) {
	for _, t := range tables {
		for _, c := range t.records {
			if img := s.byID[c.Image]; img != nil {
				img.Containers = append(img.Containers, c.ID)
			}
		}
	}
	for _, img := range s.images {
		slices.Sort(img.Containers)
	}
}

// Images returns all images, newest first; images of one age by id.
func (s *Snapshot) Images() iter.Seq[*Image] { return slices.Values(s.images) }

// Len returns how many images there are.
func (s *Snapshot) Len() int { return len(s.images) }

// ByID returns the image of an id, or nil.
func (s *Snapshot) ByID(id string) *Image { return s.byID[id] }

// ByName returns the image of a normalised reference, or nil. A name in the store itself goes before one in an
// additional store.
func (s *Snapshot) ByName(name string) *Image { return s.byName[name] }

// ByDigest returns the images that have a manifest of this digest.
func (s *Snapshot) ByDigest(digest string) []*Image { return slices.Clone(s.byDigest[digest]) }

// ByIDPrefix returns the images whose ids begin so, by id.
func (s *Snapshot) ByIDPrefix(prefix string) []*Image {
	i, _ := slices.BinarySearch(s.ids, prefix)
	var found []*Image
	for ; i < len(s.ids) && len(s.ids[i]) >= len(prefix) && s.ids[i][:len(prefix)] == prefix; i++ {
		found = append(found, s.byID[s.ids[i]])
	}
	return found
}

// AtStep returns the images that an image was after its first n steps, as far as the store has them. With n the number
// of all its steps, the image itself is among them.
func (s *Snapshot) AtStep(img *Image, n int) []*Image {
	c := img.Facts.Config
	if c == nil || n < 0 || n > len(c.History) {
		return nil
	}
	var found []*Image
	for _, other := range s.byChain[c.chain[n]] {
		ids := other.Facts.Config.RootFS.DiffIDs
		if len(ids) <= len(c.RootFS.DiffIDs) && slices.Equal(ids, c.RootFS.DiffIDs[:len(ids)]) && (n > 0 || other == img) {
			found = append(found, other)
		}
	}
	return found
}
