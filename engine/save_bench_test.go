package engine_test

import (
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/manifest"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/enginetest"
)

// putBig puts an image of some hundred megabytes into a store and returns its id and size.
func putBig(b *testing.B, p puller) (string, int64) {
	b.Helper()
	var tars [][]byte
	var size int64
	for _, dir := range []string{"a/", "b/", "c/"} {
		data := bigTar(b, dir, 96<<20)
		_, _ = rand.Read(data[2048 : 48<<20]) // half of it resists compression; it never fails
		tars = append(tars, data)
		size += int64(len(data))
	}
	return enginetest.AddImage(b, p.Store(), enginetest.Image{Names: []string{savedName}, Tars: tars}), size
}

// BenchmarkSave saves a big image in our way and in the library's, and lists images all the while. Beside the rate it
// reports the slowest one of a hundred of these reads.
func BenchmarkSave(b *testing.B) {
	p := openPuller(b)
	id, size := putBig(b, p)
	run := func(name string, save func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			stop, reads := make(chan struct{}), make(chan []time.Duration)
			go func() { reads <- readAllTheWhile(b, p, stop) }()
			for b.Loop() {
				save(b)
			}
			close(stop)
			all := <-reads
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "ms-list-p99")
		})
	}
	for _, o := range []engine.SaveOptions{
		{Format: engine.DockerArchive}, {Format: engine.OCIArchive, AcceptUncompressed: true}, {Format: engine.OCIArchive},
	} {
		name := string(o.Format)
		if o.AcceptUncompressed {
			name += "-uncompressed"
		}
		run(name, func(b *testing.B) {
			o.Path, o.AllowPath = filepath.Join(b.TempDir(), "out"), true
			if _, err := p.save(b, o, "saved:1"); err != nil {
				b.Fatal(err)
			}
			if err := os.Remove(o.Path); err != nil {
				b.Fatal(err)
			}
		})
	}
	run("docker_archive-stream", func(b *testing.B) {
		if _, err := p.save(b, engine.SaveOptions{Format: engine.DockerArchive, Output: io.Discard}, "saved:1"); err != nil {
			b.Fatal(err)
		}
	})
	run("docker_archive-library", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "out")
		ref, err := archive.ParseReference(path + ":" + savedName)
		if err != nil {
			b.Fatal(err)
		}
		library(b, p, id, ref, manifest.DockerV2Schema2MediaType, nil)
		if err := os.Remove(path); err != nil {
			b.Fatal(err)
		}
	})
}

// readAllTheWhile lists images until stop is closed, and returns how long each time took.
func readAllTheWhile(b *testing.B, p puller, stop <-chan struct{}) []time.Duration {
	var all []time.Duration
	for {
		select {
		case <-stop:
			return all
		case <-time.After(2 * time.Millisecond):
		}
		start := time.Now()
		for _, err := range p.List(b.Context(), engine.ListOptions{All: true}) {
			if err != nil {
				b.Error(err)
			}
		}
		all = append(all, time.Since(start))
	}
}
