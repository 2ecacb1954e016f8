package bench

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/imaged-project/imaged/tests/registrytest"
)

// The image to move: layers of files of many sizes, which a compressor makes half as large.
const (
	bigLayers    = 5
	bigLayerSize = 100e6
	maxFileSize  = 1 << 20
)

// sourced is an image in a registry.
type sourced struct {
	registry *registrytest.Registry
	name     string // full
	bytes    int64  // that pulling it takes
}

var bigRegistry *registrytest.Registry

// makeBig makes the image once for all rows.
var makeBig = sync.OnceValues(func() (*sourced, error) {
	r, err := registrytest.Start(registrytest.Options{})
	if err != nil {
		return nil, err
	}
	bigRegistry = r
	tars := make([][]byte, bigLayers)
	for i := range tars {
		if tars[i], err = layer(i); err != nil {
			return nil, err
		}
	}
	big := &sourced{registry: r, name: r.Ref("big:latest")}
	if _, err := r.Push("big:latest", registrytest.ImageOptions{Tars: tars}); err != nil {
		return nil, err
	}
	big.bytes, err = layerBytes(r.URL() + "/v2/big/manifests/latest")
	return big, err
})

// layerBytes adds up the sizes of an image's layers as its manifest gives them.
func layerBytes(manifest string) (sum int64, err error) {
	req, err := http.NewRequest(http.MethodGet, manifest, nil)
	if err != nil {
		return 0, err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	var m struct{ Layers []struct{ Size int64 } }
	err = json.NewDecoder(res.Body).Decode(&m)
	for _, layer := range m.Layers {
		sum += layer.Size
	}
	return sum, err
}

// closeBig ends the registry with the image, if there is one.
func closeBig() {
	if bigRegistry != nil {
		bigRegistry.Close()
	}
}

// bigImage returns the image.
func bigImage(t *testing.T) *sourced {
	t.Helper()
	big, err := makeBig()
	if err != nil {
		t.Fatal(err)
	}
	return big
}

// layer makes a layer; hexadecimal digits of chance are what halves.
func layer(number int) ([]byte, error) {
	random := rand.NewChaCha8([32]byte{byte(number)})
	sizes := rand.New(random)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; out.Len() < bigLayerSize; i++ {
		raw := make([]byte, 1+sizes.IntN(maxFileSize/2))
		_, _ = random.Read(raw) // never fails
		content := make([]byte, hex.EncodedLen(len(raw)))
		hex.Encode(content, raw)
		name := fmt.Sprintf("layer-%d/part-%d/file-%d", number, i%10, i)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}
