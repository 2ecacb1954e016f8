package engine

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/shortnames"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/names"
)

// localImage is an image of the store that a pull's reference means.
type localImage struct {
	id      string
	named   reference.Named // nil: found by its id
	digests []digest.Digest
}

func (l *localImage) result() PullResult {
	name := "sha256:" + l.id
	if l.named != nil {
		name = l.named.String()
	}
	return PullResult{IDs: []string{l.id}, Names: []string{name}}
}

// same tells whether a registry's image is this one. A nil one is never.
func (l *localImage) same(plan *pullPlan) bool {
	return l != nil && (slices.Contains(l.digests, plan.top.digest) || slices.Contains(l.digests, plan.image.digest))
}

// findLocal looks for the image in the store, as far as the policy cares. It returns nil if there is none, or only one
// for another platform than was asked for.
func (p *puller) findLocal() (*localImage, error) {
	if p.options.Policy == PullAlways || p.options.AllTags {
		return nil, nil
	}
	if p.source.byID {
		return p.localMatch(strings.TrimPrefix(p.source.name, "sha256:"), nil)
	}
	candidates := []reference.Named{reference.TagNameOnly(p.source.named)}
	if !p.source.full {
		var err error
		if candidates, err = shortnames.ResolveLocally(p.systemContext(), p.source.name); err != nil {
			return nil, p.e.classify(err, origin{})
		}
	}
	for _, named := range candidates {
		if found, err := p.localMatch(named.String(), named); found != nil || err != nil {
			return found, err
		}
		digested, ok := named.(reference.Digested)
		if !ok {
			continue
		}
		if found, err := p.localByDigest(named, digested.Digest()); found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// localMatch returns the image that the store knows by an id or a name.
func (p *puller) localMatch(key string, named reference.Named) (*localImage, error) {
	image, err := p.e.store.Image(key)
	if errors.Is(err, storage.ErrImageUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, p.e.localError("look for image", err)
	}
	return p.forPlatform(image, named), nil
}

// localByDigest returns an image that has the digest, and a name in the same repository.
func (p *puller) localByDigest(named reference.Named, d digest.Digest) (*localImage, error) {
	images, err := p.e.store.ImagesByDigest(d)
	if err != nil {
		return nil, p.e.localError("look for image", err)
	}
	for _, image := range images {
		for _, name := range image.Names {
			other, err := reference.ParseNormalizedNamed(name)
			if err == nil && other.Name() == named.Name() {
				return p.forPlatform(image, named), nil
			}
		}
	}
	return nil, nil
}

// forPlatform returns the image, or nil if it is for another platform than was asked for.
func (p *puller) forPlatform(image *storage.Image, named reference.Named) *localImage {
	if wanted := p.options.Platform; wanted != nil {
		has := p.storedPlatform(image.ID)
		if differs(has.OS, wanted.OS) || differs(has.Architecture, wanted.Architecture) || differs(has.Variant, wanted.Variant) {
			return nil
		}
	}
	return &localImage{id: image.ID, named: named, digests: image.Digests}
}

// storedPlatform reads an image's platform from its configuration in the store; zero if it cannot be told.
func (p *puller) storedPlatform(id string) names.Platform {
	bytes, err := p.e.store.ImageBigData(id, storage.ImageDigestBigDataKey)
	if err != nil {
		return names.Platform{}
	}
	m, err := manifest.FromBlob(bytes, manifest.GuessMIMEType(bytes))
	if err != nil {
		return names.Platform{}
	}
	bytes, err = p.e.store.ImageBigData(id, m.ConfigInfo().Digest.String())
	var config ociv1.Image
	if err != nil || json.Unmarshal(bytes, &config) != nil {
		return names.Platform{}
	}
	return names.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
}
