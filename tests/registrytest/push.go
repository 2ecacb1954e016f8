package registrytest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// target is a registry that images can be put into.
type target struct {
	host               string
	base               string // scheme and host
	transport          http.RoundTripper
	username, password string // for basic authentication; empty: none
}

// Host returns host and port, such as 127.0.0.1:41234: what stands before the
// first slash of an image's name.
func (g target) Host() string { return g.host }

// Ref returns the full name of an image given as repository:tag or
// repository@digest.
func (g target) Ref(image string) string { return g.host + "/" + image }

// PushImage builds an image, puts it under a name of the form repository:tag,
// and returns the digest of its manifest, as in sha256:….
func (g target) PushImage(t testing.TB, image string, opts ImageOptions) string {
	t.Helper()
	digest, err := g.Push(image, opts)
	if err != nil {
		t.Fatalf("registrytest: %v", err)
	}
	return digest
}

// PushIndex builds an image for each element of images, puts an image index of
// them under a name of the form repository:tag, and returns its digest.
func (g target) PushIndex(t testing.TB, image string, images ...ImageOptions) string {
	t.Helper()
	digest, err := g.pushIndex(image, images)
	if err != nil {
		t.Fatalf("registrytest: push %s: %v", image, err)
	}
	return digest
}

// PushManifest puts any bytes as a manifest under a name of the form
// repository:tag, unchecked by anything but the registry.
func (g target) PushManifest(t testing.TB, image, mediaType string, manifest []byte) {
	t.Helper()
	ref, err := g.parse(image)
	if err == nil {
		err = g.putManifest(ref.Context().RepositoryStr(), ref.Identifier(), mediaType, manifest)
	}
	if err != nil {
		t.Fatalf("registrytest: push %s: %v", image, err)
	}
}

// PushBlob puts a blob into a repository and returns its digest.
func (g target) PushBlob(t testing.TB, repository string, content []byte) string {
	t.Helper()
	hash, _, err := v1.SHA256(bytes.NewReader(content))
	if err == nil {
		err = g.putBlob(repository, hash.String(), bytes.NewReader(content))
	}
	if err != nil {
		t.Fatalf("registrytest: push blob to %s: %v", repository, err)
	}
	return hash.String()
}

// Push is PushImage outside a test.
func (g target) Push(image string, opts ImageOptions) (string, error) {
	ref, err := g.parse(image)
	if err != nil {
		return "", err
	}
	img, err := build(opts.withDefaults(image))
	if err != nil {
		return "", fmt.Errorf("push %s: %w", image, err)
	}
	if err := g.putImage(ref.Context().RepositoryStr(), ref.Identifier(), img); err != nil {
		return "", fmt.Errorf("push %s: %w", image, err)
	}
	return digestOf(img)
}

// pushIndex is PushIndex with an error.
func (g target) pushIndex(image string, images []ImageOptions) (string, error) {
	ref, err := g.parse(image)
	if err != nil {
		return "", err
	}
	repository := ref.Context().RepositoryStr()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, opts := range images {
		opts = opts.withDefaults(image)
		platform, err := v1.ParsePlatform(opts.Platform)
		if err != nil {
			return "", fmt.Errorf("platform: %w", err)
		}
		img, err := build(opts)
		if err != nil {
			return "", err
		}
		digest, err := digestOf(img)
		if err != nil {
			return "", err
		}
		if err := g.putImage(repository, digest, img); err != nil {
			return "", err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
	}
	manifest, err := index.RawManifest()
	if err != nil {
		return "", fmt.Errorf("index: %w", err)
	}
	if err := g.putManifest(repository, ref.Identifier(), string(types.OCIImageIndex), manifest); err != nil {
		return "", err
	}
	return digestOf(index)
}

// digestOf returns the digest of a manifest or index.
func digestOf(what interface{ Digest() (v1.Hash, error) }) (string, error) {
	hash, err := what.Digest()
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	return hash.String(), nil
}

// parse splits repository:tag.
func (g target) parse(image string) (name.Reference, error) {
	ref, err := name.ParseReference(g.Ref(image))
	if err != nil {
		return nil, fmt.Errorf("push %s: %w", image, err)
	}
	return ref, nil
}

// putImage puts blobs, configuration and manifest of an image.
func (g target) putImage(repository, tag string, img v1.Image) error {
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("layers: %w", err)
	}
	for _, layer := range layers {
		if err := g.putLayer(repository, layer); err != nil {
			return err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	digest, err := img.ConfigName()
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := g.putBlob(repository, digest.String(), bytes.NewReader(config)); err != nil {
		return err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	mediaType, err := img.MediaType()
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	return g.putManifest(repository, tag, string(mediaType), manifest)
}

// putLayer puts one compressed layer.
func (g target) putLayer(repository string, layer v1.Layer) (err error) {
	digest, err := digestOf(layer)
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return fmt.Errorf("layer %s: %w", digest, err)
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	return g.putBlob(repository, digest, content)
}

// putBlob uploads a blob: POST for a place, PUT the content there.
func (g target) putBlob(repository, digest string, content io.Reader) error {
	location, err := g.send(http.MethodPost, fmt.Sprintf("%s/v2/%s/blobs/uploads/", g.base, repository), "", nil)
	if err != nil {
		return fmt.Errorf("blob %s: %w", digest, err)
	}
	if location == nil {
		return fmt.Errorf("blob %s: the registry names no place for an upload", digest)
	}
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	if _, err := g.send(http.MethodPut, location.String(), "application/octet-stream", content); err != nil {
		return fmt.Errorf("blob %s: %w", digest, err)
	}
	return nil
}

// putManifest puts a manifest or index under a tag or its digest.
func (g target) putManifest(repository, tag, mediaType string, manifest []byte) error {
	address := fmt.Sprintf("%s/v2/%s/manifests/%s", g.base, repository, tag)
	if _, err := g.send(http.MethodPut, address, mediaType, bytes.NewReader(manifest)); err != nil {
		return fmt.Errorf("manifest %s: %w", tag, err)
	}
	return nil
}

// send makes one request that must succeed, and returns the answer's Location,
// nil if there is none.
func (g target) send(method, address, contentType string, body io.Reader) (location *url.URL, err error) {
	req, err := http.NewRequest(method, address, body)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if g.username != "" {
		req.SetBasicAuth(g.username, g.password)
	}
	res, err := g.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode/100 != 2 {
		// The text only makes the error clearer; without it the status does.
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return nil, fmt.Errorf("%s: %s: %s", method, res.Status, text)
	}
	location, err = res.Location()
	if errors.Is(err, http.ErrNoLocation) {
		return nil, nil
	}
	return location, err
}
