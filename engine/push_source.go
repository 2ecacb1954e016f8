package engine

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine/direct"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/index"
)

// listInstances is the name under which podman and buildah note where the images of a manifest list come from.
const listInstances = "instances.json"

// involved returns the images that are read: the image itself, or those of a manifest list that are here.
func (p *pusher) involved(s *index.Snapshot, img *index.Image) []*index.Image {
	images := []*index.Image{img}
	if !img.Facts.List || !p.options.All {
		return images
	}
	for _, in := range img.Facts.Instances {
		if one := instanceImage(s, in.Digest); one != nil && !slices.Contains(images, one) {
			images = append(images, one)
		}
	}
	return images
}

// instanceImage returns the image of the store with a manifest of this digest; nil: there is none.
func instanceImage(s *index.Snapshot, d string) *index.Image {
	for _, img := range s.ByDigest(d) {
		if !img.Facts.List {
			return img
		}
	}
	return nil
}

// sourceOf makes the reference that is pushed from.
func (p *pusher) sourceOf(s *index.Snapshot, img *index.Image) (types.ImageReference, error) {
	if !img.Facts.List {
		return p.source(img.ID)
	}
	elsewhere, err := p.elsewhere(img)
	if err != nil {
		return nil, err
	}
	return direct.List(p.e.store, img.ID, func(d digest.Digest) (types.ImageReference, error) {
		if one := instanceImage(s, d.String()); one != nil {
			return p.source(one.ID)
		}
		if ref := elsewhere[d]; ref != nil {
			return ref, nil
		}
		return nil, &errdefs.ImageNotFound{Name: p.name, Reason: "the store does not have the list's image " + d.String()}
	})
}

// elsewhere returns the images of a list that are in registries.
func (p *pusher) elsewhere(list *index.Image) (map[digest.Digest]types.ImageReference, error) {
	data, err := p.e.store.ImageBigData(list.ID, listInstances)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var noted map[digest.Digest]string
	if err := json.Unmarshal(data, &noted); err != nil {
		return nil, subject("manifest list "+list.ID, err)
	}
	found := make(map[digest.Digest]types.ImageReference)
	for d, text := range noted {
		name, ok := strings.CutPrefix(text, transportRegistry+"://")
		if !ok {
			continue // of another transport, so it is in the store or nowhere
		}
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, subject("manifest list "+list.ID, err)
		}
		canonical, err := reference.WithDigest(reference.TrimNamed(named), d)
		if err != nil {
			return nil, subject("manifest list "+list.ID, err)
		}
		if found[d], err = docker.NewReference(canonical); err != nil {
			return nil, subject("manifest list "+list.ID, err)
		}
	}
	return found, nil
}

// holdImages keeps others from removing images until unlock is called, which is never nil. It fails with
// errdefs.ImageNotFound if one of them is gone already.
func (e *Engine) holdImages(ctx context.Context, name string, images []*index.Image) (unlock func(), err error) {
	var unlocks []func()
	unlock = func() {
		for _, u := range unlocks {
			u()
		}
	}
	// An image has more steps than its parent: whoever removes images locks a child before its parent, too.
	ordered := slices.SortedFunc(slices.Values(images), func(a, b *index.Image) int {
		return cmp.Or(-cmp.Compare(steps(a), steps(b)), cmp.Compare(a.ID, b.ID))
	})
	for _, img := range ordered {
		u, err := e.rlockImage(ctx, img.ID)
		if err != nil {
			return unlock, err
		}
		unlocks = append(unlocks, u)
	}
	now, err := e.snapshot(ctx)
	if err != nil {
		return unlock, err
	}
	for _, img := range images {
		if now.ByID(img.ID) == nil {
			return unlock, &errdefs.ImageNotFound{Name: name, Reason: "the image was removed just now"}
		}
	}
	return unlock, nil
}

func steps(img *index.Image) int {
	if img.Facts.Config == nil {
		return 0
	}
	return len(img.Facts.Config.History)
}
