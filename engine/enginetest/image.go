package enginetest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Epoch is when images under test were made, unless they say otherwise.
var Epoch = time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)

// Image describes an image to put into a store. The zero value is one with a single empty layer, made at Epoch for
// linux/amd64.
type Image struct {
	// Names are its normalised references.
	Names []string
	// Layers are the texts of the file "file" in each layer, base first. Images whose lists begin alike share layers.
	Layers []string
	// Tars are more layers on top: tar files, uncompressed, taken as they are.
	Tars [][]byte
	// Config is how a container is run from it.
	Config imgspec.ImageConfig
	// Created is when it was made. Zero: Epoch.
	Created time.Time
	// Platform is what it was made for. Zero: linux/amd64.
	Platform imgspec.Platform
	// Empty is how many steps without a layer follow in its history.
	Empty int
}

// AddImage puts an image into a store, as a pull does, and returns its id.
func AddImage(t testing.TB, store storage.Store, img Image) string {
	t.Helper()
	if img.Layers == nil && img.Tars == nil {
		img.Layers = []string{""}
	}
	if img.Created.IsZero() {
		img.Created = Epoch
	}
	if img.Platform.OS == "" {
		img.Platform = imgspec.Platform{OS: "linux", Architecture: "amd64"}
	}
	config := imgspec.Image{Created: &img.Created, Author: "a test", Platform: img.Platform, Config: img.Config}
	config.RootFS.Type = "layers"
	manifest := imgspec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest}
	top := ""
	tars := make([][]byte, 0, len(img.Layers)+len(img.Tars))
	for _, text := range img.Layers {
		tars = append(tars, layerTar(t, text))
	}
	for i, data := range append(tars, img.Tars...) {
		text := "a tar"
		if i < len(img.Layers) {
			text = img.Layers[i]
		}
		diffID := digest.FromBytes(data)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		config.History = append(config.History, imgspec.History{Created: &img.Created, CreatedBy: "add " + text})
		manifest.Layers = append(manifest.Layers, imgspec.Descriptor{
			MediaType: imgspec.MediaTypeImageLayer, Digest: diffID, Size: int64(len(data)),
		})
		top = addLayer(t, store, config.RootFS.DiffIDs, top, data)
	}
	for range img.Empty {
		config.History = append(config.History, imgspec.History{Created: &img.Created, CreatedBy: "nothing", EmptyLayer: true})
	}
	configData := marshal(t, config)
	manifest.Config = imgspec.Descriptor{
		MediaType: imgspec.MediaTypeImageConfig, Digest: digest.FromBytes(configData), Size: int64(len(configData)),
	}
	return createImage(t, store, img.Created, manifest.Config.Digest.Encoded(), img.Names, top, marshal(t, manifest), map[string][]byte{
		manifest.Config.Digest.String(): configData,
	})
}

// AddList puts a manifest list into a store, with the given images (by id) as instances, made now, and returns its id.
func AddList(t testing.TB, store storage.Store, names []string, ids ...string) string {
	t.Helper()
	list := imgspec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex}
	for _, id := range ids {
		img, err := store.Image(id)
		if err != nil {
			t.Fatal(err)
		}
		data, err := store.ImageBigData(id, "sha256:"+id)
		if err != nil {
			t.Fatal(err)
		}
		var config imgspec.Image
		if err := json.Unmarshal(data, &config); err != nil {
			t.Fatal(err)
		}
		list.Manifests = append(list.Manifests, imgspec.Descriptor{
			MediaType: imgspec.MediaTypeImageManifest, Digest: img.Digest,
			Size: img.BigDataSizes[storage.ImageDigestBigDataKey], Platform: &config.Platform,
		})
	}
	data := marshal(t, list)
	return createImage(t, store, time.Now(), digest.FromBytes(data).Encoded(), names, "", data, nil)
}

// AddContainer makes a container of an image and returns its id.
func AddContainer(t testing.TB, store storage.Store, image string) string {
	t.Helper()
	c, err := store.CreateContainer("", nil, image, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func createImage(
	t testing.TB, store storage.Store, created time.Time, id string, names []string, top string, manifest []byte, more map[string][]byte,
) string {
	t.Helper()
	d := digest.FromBytes(manifest)
	opts := &storage.ImageOptions{Digest: d, CreationDate: created}
	for _, key := range []string{storage.ImageDigestBigDataKey, storage.ImageDigestManifestBigDataNamePrefix + "-" + d.String()} {
		opts.BigData = append(opts.BigData, storage.ImageBigDataOption{Key: key, Data: manifest, Digest: d})
	}
	for key, data := range more {
		opts.BigData = append(opts.BigData, storage.ImageBigDataOption{Key: key, Data: data, Digest: digest.FromBytes(data)})
	}
	if _, err := store.CreateImage(id, names, top, "{}", opts); err != nil {
		t.Fatal(err)
	}
	return id
}

// addLayer puts a layer into the store under its chain id, unless it is there.
func addLayer(t testing.TB, store storage.Store, diffIDs []digest.Digest, parent string, data []byte) string {
	t.Helper()
	id := chainID(diffIDs)
	if store.Exists(id) {
		return id
	}
	if _, _, err := store.PutLayer(id, parent, nil, "", false, nil, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return id
}

func chainID(diffIDs []digest.Digest) string {
	chain := diffIDs[0]
	for _, d := range diffIDs[1:] {
		chain = digest.FromString(chain.String() + " " + d.String())
	}
	return chain.Encoded()
}

// layerTar makes a layer with one file of this text.
func layerTar(t testing.TB, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if text != "" {
		err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(text)), ModTime: Epoch, Typeflag: tar.TypeReg})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
