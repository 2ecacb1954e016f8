package archives

import (
	"slices"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// document is a manifest as it stands in the archive, or as it is made for an image that has none.
type document struct {
	data   []byte
	mime   string
	digest digest.Digest
}

// layer is where an image's layer lies and how it is served.
type layer struct {
	file   string // its name in the archive
	size   int64  // of what is served
	unpack bool   // it is served decompressed
	follow bool   // the name may be a symbolic link
}

// Image is an image of an archive. It never changes.
type Image struct {
	archive   *Archive
	names     []string
	raw       string                     // the name as it stands in an OCI index
	top       document                   // its manifest, or the manifest list that it was chosen from
	instances map[digest.Digest]document // of a list: those that are served
	configs   map[digest.Digest][]byte
	configID  digest.Digest // of the one that was chosen
	platform  ociv1.Platform
	listed    bool
	layers    map[digest.Digest]layer
	signed    map[digest.Digest]string // what the files with signatures begin with; "" is top
}

// Names returns the references that the archive gives the image, complete and without repetition; nil if none.
func (i *Image) Names() []string { return i.names }

// ID returns the id that the image gets in a store: 64 hex digits.
func (i *Image) ID() string { return i.configID.Encoded() }

// Platform returns what the image was made for, as its configuration says.
func (i *Image) Platform() ociv1.Platform { return i.platform }

// Listed tells whether the image was chosen out of a manifest list by its platform.
func (i *Image) Listed() bool { return i.listed }

// Reference returns the image as the libraries know it. It is valid until the archive is closed. Its transport is that
// of the archive's kind, so that the signature policy's scopes apply, with the archive's path, if it was opened by one.
func (i *Image) Reference() types.ImageReference { return imageReference{i} }

func (i *Image) isCalled(item string) bool {
	if item == i.raw {
		return true
	}
	named, err := reference.ParseNormalizedNamed(item)
	return err == nil && slices.Contains(i.names, reference.TagNameOnly(named).String()) || slices.Contains(i.names, item)
}

// configuration is what matters here of an image's configuration.
type configuration struct {
	ociv1.Platform
	RootFS *struct {
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// setConfig checks the configuration and returns the digests of the layers, decompressed.
func (i *Image) setConfig(data []byte) ([]digest.Digest, error) {
	var c configuration
	if err := parse("configuration", data, &c); err != nil {
		return nil, err
	}
	if c.RootFS == nil {
		return nil, invalid("the configuration says nothing of a root file system")
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := checkDigest(d); err != nil {
			return nil, err
		}
	}
	if i.configs == nil {
		i.configs, i.layers = make(map[digest.Digest][]byte), make(map[digest.Digest]layer)
	}
	i.configID, i.platform = digest.Canonical.FromBytes(data), c.Platform
	i.configs[i.configID] = data
	return c.RootFS.DiffIDs, nil
}

// checkDigest takes the digests that are understood and safe to make a file's name of.
func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return &errdefs.InvalidArchive{Reason: "digest " + quote(d.String()) + ": " + err.Error(), Err: err}
	}
	if d.Algorithm() != digest.SHA256 {
		return invalid("digest %s is not of SHA-256", quote(d.String()))
	}
	return nil
}

// takeManifest reads the image's own manifest: which configuration and which layers it has, and where they lie.
func (i *Image) takeManifest(doc document, blob func(digest.Digest) string) error {
	if doc.mime != ociv1.MediaTypeImageManifest && doc.mime != manifest.DockerV2Schema2MediaType {
		return invalid("manifest %s is of the type %s, which is not supported", doc.digest, quote(doc.mime))
	}
	m, err := manifest.FromBlob(doc.data, doc.mime)
	if err != nil {
		return &errdefs.InvalidArchive{Reason: "manifest " + doc.digest.String() + ": " + err.Error(), Err: err}
	}
	config := m.ConfigInfo()
	if config.MediaType != ociv1.MediaTypeImageConfig && config.MediaType != manifest.DockerV2Schema2ConfigMediaType {
		return invalid("manifest %s is no container image's, but one of the type %s", doc.digest, quote(config.MediaType))
	}
	if err := checkDigest(config.Digest); err != nil {
		return err
	}
	data, err := readDocument(i.archive.tree, blob(config.Digest), i.archive.limits.DocumentBytes)
	if err != nil {
		return err
	}
	if digest.Canonical.FromBytes(data) != config.Digest {
		return invalid("the configuration %s is damaged: it has another digest", config.Digest)
	}
	diffIDs, err := i.setConfig(data)
	if err != nil {
		return err
	}
	return i.takeLayers(m.LayerInfos(), len(diffIDs), blob)
}

func (i *Image) takeLayers(infos []manifest.LayerInfo, diffIDs int, blob func(digest.Digest) string) error {
	if int64(len(infos)) > i.archive.limits.Layers {
		return &errdefs.LimitExceeded{Limit: LimitLayers, Value: i.archive.limits.Layers}
	}
	if len(infos) != diffIDs {
		return invalid("the manifest has %d layers, the configuration %d", len(infos), diffIDs)
	}
	for _, info := range infos {
		if err := checkDigest(info.Digest); err != nil {
			return err
		}
		name := blob(info.Digest)
		if !i.archive.tree.has(name) {
			return invalid("its layer %s is missing", info.Digest)
		}
		c, err := i.archive.tree.open(name)
		if err != nil {
			return err
		}
		size := c.Size()
		if err := c.Close(); err != nil {
			return err
		}
		if info.Size >= 0 && info.Size != size {
			return invalid("layer %s is %d bytes long, not %d as the manifest says", info.Digest, size, info.Size)
		}
		i.layers[info.Digest] = layer{file: name, size: size}
	}
	return nil
}
