package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containers/storage"
	sarchive "github.com/containers/storage/pkg/archive"
	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/archives/archivetest"
	"github.com/imaged-project/imaged/engine/enginetest"
)

// load loads and returns how it ended.
func (p puller) load(t testing.TB, o engine.LoadOptions) (engine.LoadResult, error) {
	t.Helper()
	w, err := p.Load(t.Context(), o)
	if err != nil {
		return engine.LoadResult{}, err
	}
	defer w.Close()
	value, err := w.Result(t.Context())
	if err != nil {
		return engine.LoadResult{}, err
	}
	return value.(engine.LoadResult), nil
}

// twoLayers is an image for tests.
func twoLayers(t testing.TB, text string, names ...string) archivetest.Image {
	t.Helper()
	return archivetest.Image{Names: names, Layers: [][]byte{archivetest.Layer(t, "base"), archivetest.Layer(t, text)}}
}

func TestLoadEveryKindInEveryCompressionEveryWay(t *testing.T) {
	t.Parallel()
	const name = "localhost/loaded:v1"
	for kind, entries := range map[string]func(archivetest.Image) []archivetest.Entry{
		"docker-archive": func(img archivetest.Image) []archivetest.Entry { return archivetest.Docker(t, img) },
		"oci-archive":    func(img archivetest.Image) []archivetest.Entry { return archivetest.OCI(t, img) },
		"docker-dir":     func(img archivetest.Image) []archivetest.Entry { return archivetest.DockerDir(t, img) },
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := openPuller(t)
			layers := []string{"", "gzip", "zstd"}
			for i, compression := range archivetest.Compressions {
				for j, way := range []string{"file", "pipe"} {
					text := fmt.Sprint(kind, i, j)
					img := twoLayers(t, text, name)
					img.Compression = layers[(i+j)%len(layers)]
					data := archivetest.Compress(t, compression, archivetest.Tar(t, entries(img)...))
					o := engine.LoadOptions{Input: archivetest.WriteFile(t, data)}
					if way == "pipe" {
						o.Input = archivetest.Pipe(t, data)
					}
					if kind == "docker-dir" {
						o.Name = name // it has none of its own
					}
					got, err := p.load(t, o)
					want := engine.LoadResult{IDs: []string{archivetest.ID(t, img)}, Names: []string{name}}
					if diff := cmp.Diff(want, got); err != nil || diff != "" {
						t.Fatalf("%q, layers %q, %s: %v\n%s", compression, img.Compression, way, err, diff)
					}
					checkText(t, p, got.IDs[0], text)
				}
			}
			checkStore(t, p)
		})
	}
}

// checkText looks into an image that twoLayers made.
func checkText(t testing.TB, p puller, id, text string) {
	t.Helper()
	store := enginetest.Store(t, p.dirs)
	img, err := store.Image(id)
	if err != nil {
		t.Fatal(err)
	}
	diff, err := store.Diff("", img.TopLayer, &storage.DiffOptions{Compression: new(sarchive.Uncompressed)})
	if err != nil {
		t.Fatal(err)
	}
	defer diff.Close()
	data, err := io.ReadAll(diff)
	if err != nil || !slices.Equal(data, archivetest.Layer(t, text)) {
		t.Errorf("image %s: its top layer is not what was loaded: %v", id, err)
	}
}

// checkStore holds the store against what it says of itself.
func checkStore(t testing.TB, p puller) {
	t.Helper()
	report, err := enginetest.Store(t, p.dirs).Check(storage.CheckEverything())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Layers)+len(report.ROLayers)+len(report.Images)+len(report.ROImages)+len(report.Containers) > 0 {
		t.Errorf("the store is damaged: %+v", report)
	}
}

// TestLoadedImagesWithoutANameAreSettled holds that an engine after a crash would not take them for half made.
func TestLoadedImagesWithoutANameAreSettled(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	result, err := p.upload(t, archivetest.Tar(t, archivetest.OCI(t, twoLayers(t, "nameless"))...))
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob(filepath.Join(p.dirs.Root, "imaged", "*", "record.json"))
	if err != nil || len(records) != 1 {
		t.Fatalf("records: %v, %v", records, err)
	}
	text, err := os.ReadFile(records[0])
	if err != nil || bytes.Contains(text, []byte(result.IDs[0])) {
		t.Errorf("%s, %v", text, err)
	}
}
