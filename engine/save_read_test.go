package engine_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
)

func putSaved(t testing.TB, p puller) (ids []string, layers [][]byte) {
	t.Helper()
	for i := range 3 {
		layers = append(layers, bigTar(t, fmt.Sprintf("layer-%d/", i), 100<<10))
	}
	ids = append(ids, enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{savedName}, Tars: layers[:2]}))
	ids = append(ids, enginetest.AddImage(t, p.Store(), enginetest.Image{Names: []string{otherName}, Tars: [][]byte{layers[0], layers[2]}}))
	return ids, layers
}

func bigTar(t testing.TB, dir string, size int) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	text := bytes.Repeat([]byte(dir+" 0123456789\n"), size/10)[:size]
	for _, h := range []*tar.Header{
		{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: dir + "file", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(size)},
		{Name: dir + "empty", Typeflag: tar.TypeReg, Mode: 0o600},
		{Name: dir + "hard", Typeflag: tar.TypeLink, Linkname: dir + "file", Mode: 0o644},
	} {
		h.ModTime = enginetest.Epoch
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func untar(t testing.TB, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := files[h.Name]; twice {
			t.Errorf("%s is in the tar twice", h.Name)
		}
		files[h.Name] = nil
		if h.Typeflag == tar.TypeReg {
			if files[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func readTree(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil || rel == "." {
			return err
		}
		if d.IsDir() {
			files[rel+"/"] = nil
			return nil
		}
		files[rel], err = os.ReadFile(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func parse[T any](t testing.TB, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

func checkOCI(t testing.TB, files map[string][]byte, names ...string) imgspec.Manifest {
	t.Helper()
	if got := parse[imgspec.ImageLayout](t, files["oci-layout"]); got.Version != "1.0.0" {
		t.Errorf("oci-layout: %+v", got)
	}
	index := parse[imgspec.Index](t, files["index.json"])
	var got []string
	for _, d := range index.Manifests {
		got = append(got, d.Annotations[imgspec.AnnotationRefName])
		if d.Digest != index.Manifests[0].Digest || d.MediaType != imgspec.MediaTypeImageManifest {
			t.Errorf("a descriptor of the index: %+v", d)
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for name, data := range files {
		if strings.HasPrefix(name, "blobs/sha256/") && data != nil && digest.FromBytes(data).Encoded() != path.Base(name) {
			t.Errorf("blob %s has another digest", name)
		}
	}
	m := parse[imgspec.Manifest](t, files["blobs/sha256/"+index.Manifests[0].Digest.Encoded()])
	if int64(len(files["blobs/sha256/"+m.Config.Digest.Encoded()])) != m.Config.Size {
		t.Error("the configuration is missing, or has another length")
	}
	return m
}

func wantMode(t testing.TB, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != want {
		t.Errorf("%s has mode %s, want %s", path, info.Mode().Perm(), want)
	}
}

func wantFailure(t testing.TB, what string, err error, name string) {
	t.Helper()
	if errdefs.Name(err) != name {
		t.Errorf("%s: %v, want %s", what, err, name)
	}
}
