package archives

import (
	"errors"
	"maps"
	"slices"

	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// errAbsent says that the archive does not have a manifest of a list.
var errAbsent = errors.New("it is not there")

// unknownPlatform is what buildkit says for manifests that are no images.
const unknownPlatform = "unknown"

// finder reads a manifest of a list. The error is errAbsent if the archive does not have it.
type finder func(d digest.Digest, mime string) (document, error)

// choose takes the image out of the manifest list at its top that is meant: the one for the platform, else the only
// one that the archive has; or all of them.
func (i *Image) choose(o Options, read finder, blob func(digest.Digest) string) error {
	list, err := manifest.ListFromBlob(i.top.data, i.top.mime)
	if err != nil {
		return &errdefs.InvalidArchive{Reason: "manifest list " + i.top.digest.String() + ": " + err.Error(), Err: err}
	}
	if int64(len(list.Instances())) > i.archive.limits.Images {
		return &errdefs.LimitExceeded{Limit: LimitImages, Value: i.archive.limits.Images}
	}
	i.instances = make(map[digest.Digest]document)
	if o.All {
		return i.takeAll(list, read, blob)
	}
	if chosen, err := list.ChooseInstance(o.Platform); err == nil {
		doc, err := read(chosen, "")
		if err == nil {
			i.listed = true
			i.instances[chosen] = doc
			return i.takeManifest(doc, blob)
		}
		if !errors.Is(err, errAbsent) {
			return err
		}
	}
	// A list that was saved for one platform alone keeps the descriptors of the others.
	only, err := i.onlyInstance(list, read)
	if err != nil {
		return err
	}
	i.top = only
	return i.takeManifest(only, blob)
}

// takeAll takes every image of the list.
func (i *Image) takeAll(list manifest.List, read finder, blob func(digest.Digest) string) error {
	i.listed = true
	for _, d := range list.Instances() {
		doc, err := read(d, "")
		if errors.Is(err, errAbsent) {
			err = invalid("the image %s of the manifest list %s is not in it", d, i.top.digest)
		}
		if err != nil {
			return err
		}
		i.instances[d] = doc
		if err := i.takeManifest(doc, blob); err != nil {
			return err
		}
	}
	if len(i.instances) == 0 {
		return invalid("the manifest list %s is empty", i.top.digest)
	}
	return nil
}

func (i *Image) onlyInstance(list manifest.List, read finder) (document, error) {
	there := map[digest.Digest]document{}
	for _, d := range list.Instances() {
		instance, err := list.Instance(d)
		if err != nil {
			return document{}, &errdefs.InvalidArchive{Reason: "manifest list " + i.top.digest.String() + ": " + err.Error(), Err: err}
		}
		if p := instance.ReadOnly.Platform; p != nil && p.OS == unknownPlatform {
			continue
		}
		doc, err := read(d, "")
		switch {
		case errors.Is(err, errAbsent):
		case err != nil:
			return document{}, err
		default:
			there[d] = doc
		}
	}
	switch len(there) {
	case 1:
		return slices.Collect(maps.Values(there))[0], nil
	case 0:
		return document{}, invalid("no image of the manifest list %s is in it", i.top.digest)
	}
	return document{}, invalid("no image of the manifest list %s is for this platform", i.top.digest)
}
