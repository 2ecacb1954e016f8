package archives

import (
	"path"
	"slices"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
)

const (
	annotationContainerd = "io.containerd.image.name"
	annotationType       = "vnd.docker.reference.type" // of what buildkit says about an image
)

// readOCI reads the images of an OCI layout. Manifests that only say something about other ones are left out. Those
// with the same digest are one image of several names.
func (a *Archive) readOCI(o Options) error {
	if a.tree.has(fileLayout) {
		if err := a.checkLayout(); err != nil {
			return err
		}
	}
	data, err := readDocument(a.tree, fileIndex, a.limits.DocumentBytes)
	if err != nil {
		return err
	}
	var index ociv1.Index
	if err := parse(fileIndex, data, &index); err != nil {
		return err
	}
	if int64(len(index.Manifests)) > a.limits.Images {
		return &errdefs.LimitExceeded{Limit: LimitImages, Value: a.limits.Images}
	}
	known := map[digest.Digest]*Image{}
	for _, d := range index.Manifests {
		if d.Annotations[annotationType] != "" {
			continue
		}
		img, ok := known[d.Digest]
		if !ok {
			if img, err = a.readOCIImage(d, o); err != nil {
				return err
			}
			known[d.Digest] = img
			a.images = append(a.images, img)
		}
		if err := img.addOCIName(d); err != nil {
			return err
		}
	}
	return nil
}

func (a *Archive) checkLayout() error {
	data, err := readDocument(a.tree, fileLayout, a.limits.DocumentBytes)
	if err != nil {
		return err
	}
	var layout ociv1.ImageLayout
	if err := parse(fileLayout, data, &layout); err != nil {
		return err
	}
	if layout.Version != ociv1.ImageLayoutVersion {
		return invalid("it is an OCI layout of version %s; only %s is known", quote(layout.Version), ociv1.ImageLayoutVersion)
	}
	return nil
}

// addOCIName adds the name that a descriptor gives, completed as podman does: without a registry it is localhost's.
func (i *Image) addOCIName(d ociv1.Descriptor) error {
	raw := d.Annotations[ociv1.AnnotationRefName]
	if i.raw == "" {
		i.raw = raw
	}
	name := d.Annotations[annotationContainerd]
	if name == "" {
		name = raw
	}
	if name == "" {
		return nil
	}
	named, err := names.Normalize(name)
	if err != nil {
		return badName(name, "it is no reference")
	}
	if _, digested := named.(reference.Digested); digested {
		return badName(name, "it has a digest")
	}
	if text := named.String(); !slices.Contains(i.names, text) {
		i.names = append(i.names, text)
	}
	return nil
}

// blobName is where an OCI layout has a blob.
func blobName(d digest.Digest) string {
	return path.Join("blobs", d.Algorithm().String(), d.Encoded())
}

func (a *Archive) readOCIImage(d ociv1.Descriptor, o Options) (*Image, error) {
	img := &Image{archive: a}
	var err error
	if img.top, err = a.readOCIManifest(d.Digest, d.MediaType); err != nil {
		return nil, err
	}
	if !manifest.MIMETypeIsMultiImage(img.top.mime) {
		return img, img.takeManifest(img.top, blobName)
	}
	return img, img.choose(o, func(d digest.Digest, mime string) (document, error) {
		if err := checkDigest(d); err != nil {
			return document{}, err
		}
		if !a.tree.has(blobName(d)) {
			return document{}, errAbsent
		}
		return a.readOCIManifest(d, mime)
	}, blobName)
}

// readOCIManifest reads a manifest and holds it against its digest.
func (a *Archive) readOCIManifest(d digest.Digest, mime string) (document, error) {
	if err := checkDigest(d); err != nil {
		return document{}, err
	}
	data, err := readDocument(a.tree, blobName(d), a.limits.DocumentBytes)
	if err != nil {
		return document{}, err
	}
	if digest.Canonical.FromBytes(data) != d {
		return document{}, invalid("the manifest %s is damaged: it has another digest", d)
	}
	return newDocument(data, mime), nil
}

// newDocument makes a document; what it is shows its content unless its finder knows.
func newDocument(data []byte, mime string) document {
	if mime == "" {
		mime = manifest.GuessMIMEType(data)
	}
	return document{data: data, mime: manifest.NormalizedMIMEType(mime), digest: digest.Canonical.FromBytes(data)}
}
