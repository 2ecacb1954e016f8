package archives_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	"github.com/ulikunitz/xz"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/archives/archivetest"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// xzBlocks compresses data in blocks of so many bytes, and returns where the second one begins.
func xzBlocks(t testing.TB, data []byte, size int) (packed []byte, second int) {
	t.Helper()
	pack := func(data []byte) []byte {
		var b bytes.Buffer
		w, err := xz.WriterConfig{DictCap: 1 << 16, BlockSize: int64(size), CheckSum: xz.SHA256}.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	one := pack(data[:min(size, len(data))]) // its end is its index and 12 bytes, which say how long that is
	second = len(one) - 12 - 4*(1+int(binary.LittleEndian.Uint32(one[len(one)-8:])))
	return pack(data), second
}

// widen makes the block that begins there ask for 1.5 GiB.
func widen(packed []byte, at int) []byte {
	packed = slices.Clone(packed)
	header := packed[at : at+4*(1+int(packed[at]))]
	header[bytes.Index(header, []byte{0x21, 1})+2] = 37
	end := len(header) - 4
	binary.LittleEndian.PutUint32(header[end:], crc32.ChecksumIEEE(header[:end]))
	return packed
}

// TestXZAsksForLittleMemory reads streams whose headers ask for more than any honest one needs.
func TestXZAsksForLittleMemory(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 300_000)
	rand.Read(noise)
	layer := archivetest.Tar(t, archivetest.Entry{Name: "noise", Data: noise}, archivetest.Entry{Name: "zeros", Data: make([]byte, 300_000)})
	packed, second := xzBlocks(t, layer, 100_000)
	other, _ := xzBlocks(t, nil, 1)
	padded := slices.Concat(packed, make([]byte, 8), other)
	for name, stream := range map[string][]byte{"one": packed, "two": slices.Concat(packed, other), "padded": padded} {
		if n, err := archives.Check(t.Context(), bytes.NewReader(stream), archives.Limits{}); err != nil || n != int64(len(layer)) {
			t.Errorf("%s: %d of %d bytes, %v", name, n, len(layer), err)
		}
	}
	last, _ := xzBlocks(t, layer, len(layer))
	for name, stream := range map[string][]byte{
		"first block": widen(packed, 12), "second block": widen(packed, second), "second stream": slices.Concat(packed, widen(last, 12)),
		"padded stream": slices.Concat(padded, widen(last, 12)),
	} {
		_, err := archives.Check(t.Context(), bytes.NewReader(stream), archives.Limits{})
		if errdefs.Name(err) != "InvalidArchive" || !strings.Contains(err.Error(), "window") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestXZIsGivenOnAfterItsCheck reads such a layer out of an archive, as the library does, which has no limit.
func TestXZIsGivenOnAfterItsCheck(t *testing.T) {
	t.Parallel()
	packed, _ := xzBlocks(t, archivetest.Layer(t, "text"), 1<<20)
	layer := widen(packed, 12)
	a := mustOpen(t, archivetest.Tar(t, archivetest.OCI(t, archivetest.Image{Layers: [][]byte{layer}})...))
	for range 20 {
		source, err := a.Images()[0].Reference().NewImageSource(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _, err := source.GetBlob(t.Context(), types.BlobInfo{Digest: digest.FromBytes(layer), Size: -1}, none.NoCache)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(body); errdefs.Name(err) != "InvalidArchive" || len(data) > 0 {
			t.Fatalf("%d bytes, %v", len(data), err)
		}
		if err := errors.Join(body.Close(), source.Close()); err != nil {
			t.Error(err)
		}
	}
}
