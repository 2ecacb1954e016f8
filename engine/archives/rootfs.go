package archives

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/archives/spool"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// RootFS is a tar of a root file system, compressed or not.
const RootFS Kind = "root file system"

// rootFSFile is what the one file of a RootFS is called.
const rootFSFile = "layer.tar"

// RootFSOptions say what image to make of a root file system.
type RootFSOptions struct {
	// Config is how a container is run from it.
	Config ociv1.ImageConfig
	// OnBuild are instructions for builds on top of it. With any the image is of docker's format: OCI's has none.
	OnBuild []string
	// Platform is what it is for.
	Platform ociv1.Platform
	// Message goes into its history.
	Message string
	// Created is when it was made.
	Created time.Time
}

// OpenRootFS opens a tar of a root file system as an archive with the one image that is made of it. It reads the whole
// tar: one that is cut off, has no end mark, or is no tar is errdefs.InvalidArchive. Else it is as Open.
func OpenRootFS(ctx context.Context, in io.Reader, o Options, r RootFSOptions) (*Archive, error) {
	o.Limits.Defaults()
	file, err := spool.Open(ctx, in, spool.Options{Dir: o.TmpDir, Bytes: o.Limits.Bytes, Ratio: o.Limits.Ratio, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	a := &Archive{kind: RootFS, limits: o.Limits, close: file.Close}
	a.tree = fileTree{file}
	img := &Image{archive: a}
	diffID, err := digestRootFS(ctx, file, o.Limits)
	if err == nil {
		err = img.describe(diffID, file.Size, r)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	a.images = []*Image{img}
	return a, nil
}

// fileTree is a single file.
type fileTree struct{ file *spool.File }

func (t fileTree) has(name string) bool { return name == rootFSFile }

func (t fileTree) open(string) (content, error) {
	return content{io.NewSectionReader(t.file, 0, t.file.Size), io.NopCloser(nil)}, nil
}

func (t fileTree) follow(name string) (content, error) { return t.open(name) }

// digestRootFS reads the tar to its end and returns its digest.
func digestRootFS(ctx context.Context, file *spool.File, l Limits) (digest.Digest, error) {
	if file.Size == 0 {
		return "", invalid("it is empty")
	}
	sum := digest.Canonical.Digester()
	section := noShortRead{io.NewSectionReader(file, 0, file.Size), rootFSFile}
	in := &counter{r: io.TeeReader(section, sum.Hash()), ctx: ctx}
	out := &bounded{counter: counter{r: in, ctx: ctx}, in: in, limits: l}
	if err := walk(&marked{tar: tar.NewReader(out), read: &out.n}, out, l); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		return "", err
	}
	return sum.Digest(), nil
}

// marked is a tar reader for which an archive without an end mark is cut off: nothing else shows that one was cut
// between two entries.
type marked struct {
	tar  *tar.Reader
	read *int64 // how much of the archive was read
	next int64  // where the next entry begins; negative if that is not known
}

// Next returns the next entry.
func (m *marked) Next() (*tar.Header, error) {
	h, err := m.tar.Next()
	switch {
	case errors.Is(err, io.EOF) && *m.read <= m.next:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	const block = 512
	m.next = *m.read + (h.Size+block-1)/block*block
	if isSparse(h) {
		m.next = -1
	}
	return h, nil
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	_, realSize := h.PAXRecords["GNU.sparse.realsize"]
	_, size := h.PAXRecords["GNU.sparse.size"]
	return realSize || size
}

// dockerConfig is a configuration with what only docker's format has.
type dockerConfig struct {
	ociv1.Image
	Config struct {
		ociv1.ImageConfig
		OnBuild []string
	} `json:"config"`
}

// describe makes the image's configuration and manifest.
func (i *Image) describe(diffID digest.Digest, size int64, r RootFSOptions) error {
	image := ociv1.Image{Created: &r.Created, Platform: r.Platform, Config: r.Config}
	image.RootFS = ociv1.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}}
	image.History = []ociv1.History{{
		Created: &r.Created, CreatedBy: "/bin/sh -c #(nop) ADD file:" + diffID.Encoded() + " in /", Comment: r.Message,
	}}
	var config any = image
	if len(r.OnBuild) > 0 {
		c := dockerConfig{Image: image}
		c.Config.ImageConfig, c.Config.OnBuild = r.Config, r.OnBuild
		config = c
	}
	data, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if int64(len(data)) > i.archive.limits.DocumentBytes {
		return &errdefs.LimitExceeded{Limit: LimitDocumentBytes, Value: i.archive.limits.DocumentBytes}
	}
	if _, err := i.setConfig(data); err != nil {
		return err
	}
	i.layers[diffID] = layer{file: rootFSFile, size: size}
	if len(r.OnBuild) > 0 {
		return i.makeManifest([]manifest.Schema2Descriptor{{MediaType: manifest.DockerV2SchemaLayerMediaTypeUncompressed, Digest: diffID, Size: size}})
	}
	data, err = json.Marshal(ociv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ociv1.MediaTypeImageManifest,
		Config: ociv1.Descriptor{MediaType: ociv1.MediaTypeImageConfig, Digest: i.configID, Size: int64(len(i.configs[i.configID]))},
		Layers: []ociv1.Descriptor{{MediaType: ociv1.MediaTypeImageLayer, Digest: diffID, Size: size}},
	})
	i.top = newDocument(data, ociv1.MediaTypeImageManifest)
	return err
}
