package archives

import (
	"context"
	"encoding/json"
	"path"
	"slices"
	"strconv"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// dockerItem is an image in a docker-archive's manifest.json.
type dockerItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// readDocker reads the images of a docker-archive.
func (a *Archive) readDocker(ctx context.Context) error {
	data, err := readDocument(a.tree, fileManifest, a.limits.DocumentBytes)
	if err != nil {
		return err
	}
	var items []dockerItem
	if err := parse(fileManifest, data, &items); err != nil {
		return err
	}
	if int64(len(items)) > a.limits.Images {
		return &errdefs.LimitExceeded{Limit: LimitImages, Value: a.limits.Images}
	}
	left := a.limits.Names
	for _, item := range items {
		if left -= int64(len(item.RepoTags)); left < 0 {
			return &errdefs.LimitExceeded{Limit: LimitNames, Value: a.limits.Names}
		}
	}
	measured := map[string]layer{} // images share layers
	for _, item := range items {
		img, err := a.readDockerItem(ctx, item, measured)
		if err != nil {
			return err
		}
		a.images = append(a.images, img)
	}
	return nil
}

func (a *Archive) readDockerItem(ctx context.Context, item dockerItem, measured map[string]layer) (*Image, error) {
	img := &Image{archive: a}
	var err error
	if img.names, err = dockerNames(item.RepoTags); err != nil {
		return nil, err
	}
	if int64(len(item.Layers)) > a.limits.Layers {
		return nil, &errdefs.LimitExceeded{Limit: LimitLayers, Value: a.limits.Layers}
	}
	config, err := readDocument(a.tree, path.Clean(item.Config), a.limits.DocumentBytes)
	if err != nil {
		return nil, err
	}
	diffIDs, err := img.setConfig(config)
	if err != nil {
		return nil, err
	}
	if len(diffIDs) != len(item.Layers) {
		return nil, invalid("%s has %d layers for %s, the configuration %d", fileManifest, len(item.Layers), quote(item.Config), len(diffIDs))
	}
	var layers []manifest.Schema2Descriptor
	for n, d := range diffIDs {
		l, err := a.dockerLayer(ctx, path.Clean(item.Layers[n]), measured)
		if err != nil {
			return nil, err
		}
		if _, ok := img.layers[d]; !ok {
			img.layers[d] = l
		}
		layers = append(layers, manifest.Schema2Descriptor{
			MediaType: manifest.DockerV2Schema2LayerMediaType, Digest: d, Size: img.layers[d].size,
		})
	}
	return img, img.makeManifest(layers)
}

// makeManifest makes the manifest that a docker-archive does not have. It names layers by their digest when
// decompressed, as they are served.
func (i *Image) makeManifest(layers []manifest.Schema2Descriptor) error {
	data, err := json.Marshal(manifest.Schema2FromComponents(manifest.Schema2Descriptor{
		MediaType: manifest.DockerV2Schema2ConfigMediaType, Digest: i.configID, Size: int64(len(i.configs[i.configID])),
	}, layers))
	if err != nil {
		return err
	}
	i.top = document{data: data, mime: manifest.DockerV2Schema2MediaType, digest: digest.Canonical.FromBytes(data)}
	return nil
}

// dockerLayer finds a layer and its length when decompressed.
func (a *Archive) dockerLayer(ctx context.Context, name string, measured map[string]layer) (layer, error) {
	if l, ok := measured[name]; ok {
		return l, nil
	}
	c, err := a.tree.follow(name)
	if err != nil {
		return layer{}, err
	}
	defer func() { _ = c.Close() }() // it was only read
	l := layer{file: name, size: c.Size(), unpack: true, follow: true}
	if l.size, err = unpackedSize(ctx, c.SectionReader, a.limits); err != nil {
		return layer{}, err
	}
	measured[name] = l
	return l, nil
}

// dockerNames checks an image's tags and completes them as docker does: without a registry they are docker.io's.
func dockerNames(tags []string) ([]string, error) {
	var list []string
	for _, tag := range tags {
		named, err := reference.ParseNormalizedNamed(tag)
		if err != nil {
			return nil, badName(tag, err.Error())
		}
		if _, digested := named.(reference.Digested); digested {
			return nil, badName(tag, "it has a digest")
		}
		if name := reference.TagNameOnly(named).String(); !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list, nil
}

func badName(name, reason string) error {
	return invalid("it names an image %s: %s", quote(name), reason)
}

// quote writes a foreign text so that it cannot do anything where it is shown, and not too long.
func quote(text string) string {
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return strconv.QuoteToASCII(text)
}
