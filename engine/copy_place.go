package engine

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
)

// transportStore is the transport of images in the store.
const transportStore = "containers-storage"

// place is where an image is copied from or to.
type place struct {
	text      string // as it was given
	transport string

	named reference.Named // docker: complete
	name  string          // containers-storage
	path  string          // of the others
	item  string          // of the others: which image there, empty for the only one
}

// parsePlace reads where an image is copied from or to.
func parsePlace(text string) (*place, error) {
	invalid := func(reason string) error {
		return &errdefs.InvalidReference{Reference: clean(text), Reason: reason}
	}
	if len(text) > names.MaxLength {
		return nil, invalid(fmt.Sprintf("it is longer than %d bytes", names.MaxLength))
	}
	prefix, rest, _ := strings.Cut(text, ":")
	p := &place{text: text, transport: prefix}
	switch {
	case prefix == transportRegistry:
		name, ok := strings.CutPrefix(rest, "//")
		if !ok {
			return nil, invalid("after docker: there must be // and a reference")
		}
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, invalid(err.Error())
		}
		p.named = reference.TagNameOnly(named)
		if _, ok := named.(reference.Digested); ok {
			return p, p.dropTag()
		}
	case prefix == transportStore:
		p.name = rest
		if rest == "" || strings.ContainsAny(rest, "[@]") && !strings.Contains(rest, "@sha256:") {
			return nil, invalid("after containers-storage: there must be a name or an id of this store, and nothing else")
		}
	case slices.Contains(pathTransports, prefix):
		p.path, p.item, _ = strings.Cut(rest, ":")
		if !filepath.IsAbs(p.path) {
			return nil, invalid("its path is not absolute")
		}
	default:
		return nil, &errdefs.InvalidReference{
			Reference: clean(text), Reason: "it does not say what it is",
			Next: "begin it with docker://, containers-storage:, docker-archive:, oci-archive:, oci: or dir:",
		}
	}
	return p, nil
}

// dropTag takes the tag away from a reference that has a digest too: the digest alone says which image is meant.
func (p *place) dropTag() error {
	digested, ok := p.named.(reference.Canonical)
	if !ok {
		return nil
	}
	named, err := reference.WithDigest(reference.TrimNamed(p.named), digested.Digest())
	if err != nil {
		return &errdefs.InvalidReference{Reference: clean(p.text), Reason: clean(err.Error())}
	}
	p.named = named
	return nil
}

// checkDestination checks what only matters where something is written to.
func (p *place) checkDestination() (err error) {
	switch p.transport {
	case transportRegistry:
		if _, ok := p.named.(reference.Digested); ok {
			return &errdefs.InvalidReference{Reference: clean(p.text), Reason: "an image cannot be put at a digest, only at a tag"}
		}
	case transportStore:
		p.name, err = tagName(p.name)
	case transportDir:
		if p.item != "" {
			return &errdefs.InvalidReference{Reference: clean(p.text), Reason: "a dir has one image without a name"}
		}
	}
	return err
}
