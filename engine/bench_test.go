package engine

import (
	"fmt"
	"testing"

	"github.com/containers/storage"

	"github.com/imaged-project/imaged/engine/enginetest"
)

// BenchmarkList lists 1,000 images that share one layer, with nothing changed since the last time.
func BenchmarkList(b *testing.B) {
	e, store := open(b)
	first := enginetest.AddImage(b, store, enginetest.Image{})
	img, err := store.Image(first)
	if err != nil {
		b.Fatal(err)
	}
	var data []storage.ImageBigDataOption
	for _, key := range img.BigDataNames {
		piece, err := store.ImageBigData(first, key)
		if err != nil {
			b.Fatal(err)
		}
		data = append(data, storage.ImageBigDataOption{Key: key, Data: piece, Digest: img.BigDataDigests[key]})
	}
	for i := 1; i < 1000; i++ {
		names := []string{fmt.Sprintf("localhost/image%d:latest", i)}
		if _, err := store.CreateImage("", names, img.TopLayer, "{}", &storage.ImageOptions{BigData: data, Digest: img.Digest}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		n := 0
		for _, err := range e.List(b.Context(), ListOptions{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 1000 {
			b.Fatal(n)
		}
	}
}
