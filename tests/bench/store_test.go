package bench

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/imaged-project/imaged/engine/enginetest"
)

// Size of the store to list.
const (
	listImages = 1000
	listLayers = 4 // of each image, its own
	listSteps  = 8 // of its history, those without a layer included
)

// record is a JSON object of the store.
type record = map[string]any

// fillStore makes a store with an image through the library, and then adds records of further ones, as the library
// writes them: to unpack 4,000 layers would take minutes, and listing looks at records only.
func fillStore(t *testing.T, d dirs) {
	t.Helper()
	store := enginetest.Store(t, enginetest.Dirs{Root: d.root, RunRoot: d.runRoot})
	enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/first:latest"}, Layers: []string{"a", "b", "c", "d"}})
	if _, err := store.Shutdown(true); err != nil {
		t.Fatal(err)
	}
	var layers, images []record
	for i := range listImages - 1 {
		image, of := imageRecords(t, d, i)
		images = append(images, image)
		layers = append(layers, of...)
	}
	addRecords(t, filepath.Join(d.root, "overlay-layers", "layers.json"), layers)
	addRecords(t, filepath.Join(d.root, "overlay-images", "images.json"), images)
}

// imageRecords makes an image's record, those of its layers, and its files.
func imageRecords(t *testing.T, d dirs, number int) (image record, layers []record) {
	t.Helper()
	var diffs []string
	var history []record
	parent := ""
	for i := range listLayers {
		id := sum(fmt.Sprintf("layer %d of %d", i, number))
		if err := os.MkdirAll(filepath.Join(d.root, "overlay", id, "diff"), 0o700); err != nil { // podman looks for it
			t.Fatal(err)
		}
		layers = append(layers, record{
			"id": id, "parent": parent, "created": enginetest.Epoch,
			"diff-digest": "sha256:" + id, "diff-size": 1000, "compressed-diff-digest": "sha256:" + id, "compressed-size": 1000,
		})
		diffs, parent = append(diffs, "sha256:"+id), id
	}
	for i := range listSteps {
		history = append(history, record{
			"created": enginetest.Epoch, "created_by": fmt.Sprintf("RUN step %d of %d", i, number), "empty_layer": i >= listLayers,
		})
	}
	config := encode(t, record{
		"created": enginetest.Epoch, "os": "linux", "architecture": "amd64", "history": history,
		"config": record{"Labels": map[string]string{"number": fmt.Sprint(number)}, "Env": []string{"PATH=/bin"}},
		"rootfs": record{"type": "layers", "diff_ids": diffs},
	})
	id := sum(string(config))
	blobs := make([]record, 0, listLayers)
	for _, diff := range diffs {
		blobs = append(blobs, record{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff, "size": 1000})
	}
	manifest := encode(t, record{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": blobs,
		"config": record{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + id, "size": len(config)},
	})
	return writeImage(t, d, id, parent, fmt.Sprintf("localhost/image%d:latest", number), manifest, config), layers
}

// writeImage writes an image's files and returns its record.
func writeImage(t *testing.T, d dirs, id, top, name string, manifest, config []byte) record {
	t.Helper()
	data := map[string][]byte{"manifest": manifest, "manifest-sha256:" + sum(string(manifest)): manifest, "sha256:" + id: config}
	keys, digests, sizes := []string{}, map[string]string{}, map[string]int{}
	folder := filepath.Join(d.root, "overlay-images", id)
	err := os.MkdirAll(folder, 0o700)
	for key, content := range data {
		keys, digests[key], sizes[key] = append(keys, key), "sha256:"+sum(string(content)), len(content)
		file := key
		if key != "manifest" {
			file = "=" + base64.StdEncoding.EncodeToString([]byte(key))
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, file), content, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return record{
		"id": id, "digest": digests["manifest"], "names": []string{name}, "layer": top, "metadata": "{}", "created": enginetest.Epoch,
		"big-data-names": keys, "big-data-sizes": sizes, "big-data-digests": digests,
	}
}

// addRecords adds to a file that is a list of records.
func addRecords(t *testing.T, path string, more []record) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []record
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, encode(t, append(all, more...)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
