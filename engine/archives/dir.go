package archives

import (
	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
)

// readDockerDir reads the one image, or the one list, of a docker-dir. It has no name there.
func (a *Archive) readDockerDir(o Options) error {
	data, err := readDocument(a.tree, fileManifest, a.limits.DocumentBytes)
	if err != nil {
		return err
	}
	img := &Image{archive: a, top: newDocument(data, ""), signed: map[digest.Digest]string{"": ""}}
	if manifest.MIMETypeIsMultiImage(img.top.mime) {
		err = img.choose(o, func(d digest.Digest, mime string) (document, error) {
			return a.readDirInstance(d, mime)
		}, dirBlobName)
		for d := range img.instances {
			img.signed[d] = d.Encoded() + "."
		}
		if !img.listed && err == nil {
			img.signed[""] = img.top.digest.Encoded() + "."
		}
	} else {
		err = img.takeManifest(img.top, dirBlobName)
	}
	a.images = []*Image{img}
	return err
}

// dirBlobName is where a docker-dir has a blob.
func dirBlobName(d digest.Digest) string { return d.Encoded() }

func (a *Archive) readDirInstance(d digest.Digest, mime string) (document, error) {
	if err := checkDigest(d); err != nil {
		return document{}, err
	}
	name := d.Encoded() + "." + fileManifest
	if !a.tree.has(name) {
		return document{}, errAbsent
	}
	data, err := readDocument(a.tree, name, a.limits.DocumentBytes)
	if err != nil {
		return document{}, err
	}
	if digest.Canonical.FromBytes(data) != d {
		return document{}, invalid("the manifest %s is damaged: it has another digest", d)
	}
	return newDocument(data, mime), nil
}
