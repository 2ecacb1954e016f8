package registrytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Defaults of ImageOptions, and the sizes of the sample.
const (
	defaultLayers    = 3
	defaultLayerSize = 32 << 10
	sampleLayers     = 6
	sampleLayerSize  = 8 << 20
	maxFileSize      = 256 << 10
)

// built is the time that every image and file claims to be from.
var built = time.Date(2025, time.March, 14, 15, 9, 26, 0, time.UTC)

// ImageOptions describe an image. The zero value is an OCI image for
// linux/amd64 with three layers of 32 KiB. The same options give the same bytes
// every time.
type ImageOptions struct {
	// Layers is their number; zero: three, if there are no Tars.
	Layers int
	// LayerSize is the content of each of them in bytes, before compression,
	// which it resists; zero: 32 KiB.
	LayerSize int64
	// Platform as in linux/arm64/v8; empty: linux/amd64.
	Platform string
	// Seed chooses the content. Zero: one made from the name that the image is
	// pushed to, so that images with other names have other layers.
	Seed uint64
	// Docker makes a Docker schema 2 manifest in place of an OCI one.
	Docker bool
	// Tars are more layers on top: tar files, uncompressed, taken as they are.
	Tars [][]byte
	// Labels, Env and Cmd go into the image's configuration; empty Env and Cmd:
	// a PATH and a command that prints a line.
	Labels   map[string]string
	Env, Cmd []string
}

// SampleImage describes the image for demonstrations and measurements: six
// layers, 48 MiB.
func SampleImage() ImageOptions {
	return ImageOptions{
		Layers:    sampleLayers,
		LayerSize: sampleLayerSize,
		Labels:    map[string]string{"org.opencontainers.image.title": "sample"},
	}
}

// withDefaults fills in what was left to its zero value.
func (o ImageOptions) withDefaults(name string) ImageOptions {
	if o.Layers == 0 && len(o.Tars) == 0 {
		o.Layers = defaultLayers
	}
	if o.LayerSize == 0 {
		o.LayerSize = defaultLayerSize
	}
	if o.Platform == "" {
		o.Platform = "linux/amd64"
	}
	if o.Seed == 0 {
		hash := fnv.New64a()
		// Writing to a hash never fails.
		_, _ = hash.Write([]byte(name + "\x00" + o.Platform))
		o.Seed = hash.Sum64()
	}
	if o.Env == nil {
		o.Env = []string{"PATH=/bin"}
	}
	if o.Cmd == nil {
		o.Cmd = []string{"/bin/echo", "hello"}
	}
	return o
}

// build builds the image that opts describe, which has no defaults left to fill in.
func build(opts ImageOptions) (v1.Image, error) {
	platform, err := v1.ParsePlatform(opts.Platform)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	layerType := types.OCILayer
	if opts.Docker {
		base, layerType = empty.Image, types.DockerLayer
	}
	configured, err := mutate.ConfigFile(base, &v1.ConfigFile{
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Variant:      platform.Variant,
		Created:      v1.Time{Time: built},
		Author:       "registrytest",
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       v1.Config{Env: opts.Env, Cmd: opts.Cmd, Labels: opts.Labels},
	})
	if err != nil {
		return nil, fmt.Errorf("image: configure: %w", err)
	}
	tars, err := tarFiles(opts)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return withLayers(configured, tars, layerType)
}

// withLayers puts tar files on top of an image.
func withLayers(base v1.Image, tars [][]byte, layerType types.MediaType) (v1.Image, error) {
	additions := make([]mutate.Addendum, 0, len(tars))
	for i, content := range tars {
		layer, err := tarball.LayerFromOpener(
			func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
			tarball.WithMediaType(layerType),
			tarball.WithCompressionLevel(gzip.BestSpeed),
			tarball.WithCompressedCaching,
		)
		if err != nil {
			return nil, fmt.Errorf("image: layer %d: %w", i, err)
		}
		additions = append(additions, mutate.Addendum{
			Layer: layer,
			History: v1.History{
				Created:   v1.Time{Time: built},
				CreatedBy: fmt.Sprintf("COPY layer-%d /", i),
			},
		})
	}
	img, err := mutate.Append(base, additions...)
	if err != nil {
		return nil, fmt.Errorf("image: append layers: %w", err)
	}
	return img, nil
}

// tarFiles makes the layers that opts describe, lowest first.
func tarFiles(opts ImageOptions) ([][]byte, error) {
	tars := make([][]byte, 0, opts.Layers+len(opts.Tars))
	for i := range opts.Layers {
		content, err := layerTar(i, opts.LayerSize, opts.Seed)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		tars = append(tars, content)
	}
	return append(tars, opts.Tars...), nil
}

// layerTar makes a layer of its own directory with files of so many bytes
// together, a symbolic and a hard link.
func layerTar(number int, size int64, seed uint64) ([]byte, error) {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	key[8] = byte(number)
	key[9] = byte(number >> 8)
	random := rand.NewChaCha8(key)

	var out bytes.Buffer
	w := tarWriter{Writer: tar.NewWriter(&out)}
	dir := fmt.Sprintf("layer-%d/", number)
	w.entry(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil)
	for i := 0; size > 0; i++ {
		content := make([]byte, min(size, maxFileSize))
		// Reading from a ChaCha8 never fails.
		_, _ = random.Read(content)
		name := fmt.Sprintf("%sfile-%03d", dir, i)
		w.entry(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content)
		size -= int64(len(content))
	}
	w.entry(&tar.Header{Typeflag: tar.TypeReg, Name: dir + "number", Mode: 0o600, Size: 1}, []byte{byte('0' + number%10)})
	w.entry(&tar.Header{Typeflag: tar.TypeSymlink, Name: dir + "symlink", Linkname: "number", Mode: 0o777}, nil)
	w.entry(&tar.Header{Typeflag: tar.TypeLink, Name: dir + "hardlink", Linkname: dir + "number", Mode: 0o600}, nil)
	w.close()
	return out.Bytes(), w.err
}

// tarWriter writes entries until the first error, which it keeps.
type tarWriter struct {
	*tar.Writer
	err error
}

// entry writes one entry with its content.
func (w *tarWriter) entry(header *tar.Header, content []byte) {
	if w.err != nil {
		return
	}
	header.ModTime = built
	header.Format = tar.FormatPAX
	if w.err = w.WriteHeader(header); w.err == nil {
		_, w.err = w.Write(content)
	}
}

// close ends the archive.
func (w *tarWriter) close() {
	if w.err == nil {
		w.err = w.Close()
	}
}
