package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/containers/image/v5/docker/reference"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/names"
)

// found is an image and how a name led to it.
type found struct {
	img *index.Image
	// name is the image's own name that the lookup hit. Empty if it was found by id or by digest.
	name string
}

// lookup finds the image that a name means, in podman's order: a whole id; the names that the reference can stand for,
// exactly; with a digest, an image of that repository that has it; the beginning of an id; for a short name, any repository that
// ends with it. Where podman would take any of several, it is an error.
func (e *Engine) lookup(s *index.Snapshot, name string) (found, error) {
	q, err := names.ParseQuery(name)
	if err != nil {
		return found{}, err
	}
	if q.ID != "" {
		if img := s.ByID(q.ID); img != nil {
			return found{img: img}, nil
		}
		return found{}, &errdefs.ImageNotFound{Name: name}
	}
	candidates, err := names.Local(e.systemContext(), q)
	if err != nil {
		return found{}, e.localError("look up "+name, err)
	}
	for _, c := range candidates {
		if f, ok := byReference(s, c); ok {
			return f, nil
		}
	}
	if q.IDPrefix != "" {
		if f, err := only(name, s.ByIDPrefix(q.IDPrefix), imageID); err != nil || f.img != nil {
			return f, err
		}
	}
	if q.Short {
		if f, err := bySuffix(s, name, q); err != nil || f.img != nil {
			return f, err
		}
	}
	return found{}, &errdefs.ImageNotFound{Name: name}
}

// byReference finds the image that a full reference names.
func byReference(s *index.Snapshot, ref reference.Named) (found, bool) {
	if img := s.ByName(ref.String()); img != nil {
		return found{img: img, name: ref.String()}, true
	}
	digested, ok := ref.(reference.Digested)
	if !ok {
		return found{}, false
	}
	var hits []*index.Image
	for _, img := range s.ByDigest(digested.Digest().String()) {
		if slices.ContainsFunc(img.Names, func(n string) bool { return names.SameRepository(n, ref) }) {
			hits = append(hits, img)
		}
	}
	if len(hits) == 0 {
		return found{}, false
	}
	// A manifest list's digest may be known of several images: of each that was pulled by it. This machine's goes first.
	host := names.Host()
	for _, img := range hits {
		if host.Accepts(platformOf(img)) {
			return found{img: img}, true
		}
	}
	return found{img: hits[0]}, true
}

// bySuffix finds the image of a repository, of any registry, that ends with a short name.
func bySuffix(s *index.Snapshot, name string, q names.Query) (found, error) {
	digested, hasDigest := q.Named.(reference.Digested)
	hits := map[string]*index.Image{} // by the name that was hit
	for img := range s.Images() {
		if hasDigest && !slices.Contains(img.Digests, digested.Digest().String()) {
			continue
		}
		for _, n := range img.Names {
			repository := q.Named
			if hasDigest {
				repository = reference.TrimNamed(q.Named)
			}
			if matchesShort(n, repository, hasDigest) {
				hits[n] = img
				break
			}
		}
	}
	var images []*index.Image
	nameOf := map[*index.Image]string{}
	for n, img := range hits {
		images = append(images, img)
		nameOf[img] = n
	}
	f, err := only(name, images, func(img *index.Image) string { return nameOf[img] })
	if f.img != nil && !hasDigest {
		f.name = nameOf[f.img]
	}
	return f, err
}

func matchesShort(name string, query reference.Named, anyTag bool) bool {
	if anyTag {
		named, err := reference.ParseNamed(name)
		if err != nil {
			return false
		}
		name = reference.TagNameOnly(reference.TrimNamed(named)).String()
	}
	return names.MatchesRepository(name, query)
}

// only takes the one image there is; several are an error that calls them what label says.
func only(name string, images []*index.Image, label func(*index.Image) string) (found, error) {
	switch len(images) {
	case 0:
		return found{}, nil
	case 1:
		return found{img: images[0]}, nil
	}
	candidates := make([]string, 0, len(images))
	for _, img := range images {
		candidates = append(candidates, label(img))
	}
	slices.Sort(candidates)
	return found{}, &errdefs.AmbiguousName{Name: name, Candidates: candidates}
}

func imageID(img *index.Image) string { return img.ID }

// snapshot returns what the store holds now.
func (e *Engine) snapshot(ctx context.Context) (*index.Snapshot, error) {
	s, err := e.index.Snapshot(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, cancelled(ctx)
	case err != nil:
		return nil, e.localError("read store", err)
	}
	return s, nil
}

// find looks a name up in the store as it is now.
func (e *Engine) find(ctx context.Context, name string) (*index.Snapshot, found, error) {
	s, err := e.snapshot(ctx)
	if err != nil {
		return nil, found{}, err
	}
	f, err := e.lookup(s, name)
	return s, f, err
}

// instance returns the image of a manifest list that is in the store and will do for a platform, or nil.
func instance(s *index.Snapshot, list *index.Image, want names.Platform) *index.Image {
	for _, in := range list.Facts.Instances {
		for _, img := range s.ByDigest(in.Digest) {
			if img == list || img.Facts.List {
				continue
			}
			have := platformOf(img)
			if in.Platform != nil {
				have = names.FromSpec(*in.Platform)
			}
			if want.Accepts(have) {
				return img
			}
		}
	}
	return nil
}

// forPlatform returns the image itself if it was made for the platform, or the instance of the list that was.
func forPlatform(s *index.Snapshot, f found, name string, want *names.Platform) (*index.Image, error) {
	switch {
	case want == nil:
		return f.img, nil
	case f.img.Facts.List:
		if img := instance(s, f.img, want.WithHost()); img != nil {
			return img, nil
		}
		return nil, &errdefs.ImageNotFound{Name: name, Reason: fmt.Sprintf("the store has no image for %s of this manifest list", want.WithHost())}
	case f.img.Facts.Config != nil && want.Accepts(platformOf(f.img)):
		return f.img, nil
	}
	return nil, &errdefs.ImageNotFound{Name: name, Reason: fmt.Sprintf("the image was made for %s, not for %s", platformOf(f.img), want)}
}
