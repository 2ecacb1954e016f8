package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/containers/image/v5/docker/reference"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
)

// localImage is an image of the store that a pull's reference means.
type localImage struct {
	id      string
	name    string          // what the result calls it
	named   reference.Named // the image's own name that was hit; nil if it was found by an id or a digest
	digests []string
}

func (l *localImage) result() PullResult {
	return PullResult{IDs: []string{l.id}, Names: []string{l.name}}
}

// same tells whether a registry's image is this one. A nil one is never.
func (l *localImage) same(plan *pullPlan) bool {
	return l != nil && (slices.Contains(l.digests, plan.top.digest.String()) || slices.Contains(l.digests, plan.image.digest.String()))
}

// findLocal looks for the image in the store, as far as the policy cares. It returns nil if there is none, or only one
// for another platform than was asked for.
func (p *puller) findLocal(ctx context.Context) (*localImage, error) {
	if p.options.Policy == PullAlways || p.options.AllTags {
		return nil, nil
	}
	s, err := p.e.index.Snapshot(ctx)
	if err != nil {
		return nil, p.e.localError("read store", err)
	}
	f, err := p.e.lookup(s, p.source.localName())
	if _, ok := errors.AsType[*errdefs.ImageNotFound](err); ok {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if wanted := p.options.Platform; wanted != nil && !suits(wanted.WithHost(), platformOf(f.img)) {
		return nil, nil
	}
	l := &localImage{id: f.img.ID, name: "sha256:" + f.img.ID, digests: f.img.Digests}
	if f.name != "" {
		l.name = f.name
		l.named, err = reference.ParseNormalizedNamed(f.name)
	} else if !p.source.byID {
		l.name = reference.TagNameOnly(p.source.named).String()
	}
	return l, err
}

// suits tells whether an image will do where a platform is wanted. What the image does not say, and what is not asked
// for, does not matter.
func suits(wanted, has names.Platform) bool {
	w, h := wanted.Normalize(), has.Normalize()
	agree := func(asked, said, a, b string) bool { return asked == "" || said == "" || a == b }
	return agree(wanted.OS, has.OS, w.OS, h.OS) && agree(wanted.Architecture, has.Architecture, w.Architecture, h.Architecture) &&
		agree(wanted.Variant, has.Variant, w.Variant, h.Variant)
}
