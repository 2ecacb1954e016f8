package index_test

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
	"github.com/imaged-project/imaged/engine/index"
)

// writeStore writes the records of a store of so many images, each with three layers of its own on a base that ten share.
func writeStore(b *testing.B, images int) []index.Place {
	b.Helper()
	dir := b.TempDir()
	var imageRecords, layerRecords []map[string]any
	write := func(path string, data []byte) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			b.Fatal(err)
		}
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	layer := func(id, parent string) string {
		layerRecords = append(layerRecords, map[string]any{"id": id, "parent": parent, "diff-size": 1000, "diff-digest": "sha256:" + id})
		return id
	}
	var base string
	for i := range images {
		if i%10 == 0 {
			base = layer(sum(fmt.Sprint("base", i)), "")
		}
		diffs, history, top := []string{"sha256:" + base}, []any{}, base
		for n := range 3 {
			top = layer(sum(fmt.Sprint("layer", i, n)), top)
			diffs = append(diffs, "sha256:"+top)
		}
		for n := range 8 {
			history = append(history, map[string]any{"created": enginetest.Epoch, "created_by": fmt.Sprintf("RUN step %d of %d", n, i), "empty_layer": n > 3})
		}
		config := encode(map[string]any{
			"created": enginetest.Epoch, "os": "linux", "architecture": "amd64", "history": history,
			"config": map[string]any{"Labels": map[string]string{"number": fmt.Sprint(i)}, "Env": []string{"PATH=/bin"}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
		})
		id := sum(string(config))
		manifest := encode(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
			"config": map[string]any{"digest": "sha256:" + id, "mediaType": "application/vnd.oci.image.config.v1+json", "size": len(config)},
		})
		folder := filepath.Join(dir, "images", id)
		write(filepath.Join(folder, "manifest"), manifest)
		write(filepath.Join(folder, "="+base64.StdEncoding.EncodeToString([]byte("sha256:"+id))), config)
		imageRecords = append(imageRecords, map[string]any{
			"id": id, "layer": top, "names": []string{fmt.Sprintf("localhost/image%d:latest", i)}, "created": enginetest.Epoch,
			"digest": "sha256:" + sum(string(manifest)), "big-data-names": []string{"manifest", "sha256:" + id},
			"big-data-digests": map[string]string{"manifest": "sha256:" + sum(string(manifest)), "sha256:" + id: "sha256:" + id},
			"big-data-sizes":   map[string]int{"manifest": len(manifest), "sha256:" + id: len(config)},
		})
	}
	write(filepath.Join(dir, "images", "images.json"), encode(imageRecords))
	write(filepath.Join(dir, "layers.json"), encode(layerRecords))
	return []index.Place{{Images: filepath.Join(dir, "images"), Layers: []string{filepath.Join(dir, "layers.json")}}}
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// BenchmarkSnapshot reads a store of 1,000 images and 3,100 layers: cold, after its records were written anew, and
// with nothing changed.
func BenchmarkSnapshot(b *testing.B) {
	places := writeStore(b, 1000)
	records := filepath.Join(places[0].Images, "images.json")
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			if s := snapshot(b, index.Open(places)); s.Len() != 1000 {
				b.Fatal(s.Len())
			}
		}
	})
	x := index.Open(places)
	snapshot(b, x)
	b.Run("changed", func(b *testing.B) {
		data, err := os.ReadFile(records)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			b.StopTimer()
			if err := errors.Join(os.WriteFile(records+".new", data, 0o600), os.Rename(records+".new", records)); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			snapshot(b, x)
		}
	})
	b.Run("warm", func(b *testing.B) {
		for b.Loop() {
			snapshot(b, x)
		}
	})
}
