package archives

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/imaged-project/imaged/engine/archives/spool"
)

// maxSignatures is how many signatures of an image are read.
const maxSignatures = 100

// source hands an image of an archive over to the libraries. It is safe for concurrent use.
type source struct{ image *Image }

// Reference returns the image's reference.
func (s source) Reference() types.ImageReference { return s.image.Reference() }

// Close does nothing: the archive stays open.
func (s source) Close() error { return nil }

// HasThreadSafeGetBlob says yes: every blob is read at its place.
func (s source) HasThreadSafeGetBlob() bool { return true }

// GetManifest returns the manifest, or the one that was chosen from the list.
func (s source) GetManifest(_ context.Context, instance *digest.Digest) ([]byte, string, error) {
	doc := s.image.top
	if instance != nil {
		var ok bool
		if doc, ok = s.image.instances[*instance]; !ok {
			return nil, "", invalid("the manifest %s is not the one that was chosen", *instance)
		}
	}
	return bytes.Clone(doc.data), doc.mime, nil
}

// GetBlob opens the configuration or a layer. A layer that lies elsewhere is not fetched from there.
func (s source) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if config, ok := s.image.configs[info.Digest]; ok {
		return io.NopCloser(bytes.NewReader(config)), int64(len(config)), nil
	}
	l, ok := s.image.layers[info.Digest]
	if !ok {
		return nil, 0, invalid("it has no blob %s", quote(info.Digest.String()))
	}
	open := s.image.archive.tree.open
	if l.follow {
		open = s.image.archive.tree.follow
	}
	c, err := open(l.file)
	if err != nil {
		return nil, 0, err
	}
	body, err := newLayerReader(ctx, c, l, s.image.archive.limits)
	if err != nil {
		return nil, 0, errors.Join(err, c.Close())
	}
	return body, l.size, nil
}

// newLayerReader returns a layer as it is served, held against the limits as it is read.
func newLayerReader(ctx context.Context, c content, l layer, limits Limits) (io.ReadCloser, error) {
	file := noShortRead{c.SectionReader, l.file}
	if !l.unpack {
		as, err := compressionOf(c)
		if err != nil {
			return nil, err
		}
		return newChecked(ctx, file, c, as, limits), nil
	}
	body, _, err := spool.Decompress(file)
	if err != nil {
		return nil, err
	}
	return newChecked(ctx, body, closers{body, c}, spool.None, limits), nil
}

// noShortRead makes the end of the file before the end of the section an error: the archive was cut while in use.
type noShortRead struct {
	*io.SectionReader
	name string
}

func (r noShortRead) Read(p []byte) (int, error) {
	n, err := r.SectionReader.Read(p)
	if errors.Is(err, io.EOF) {
		if at, e := r.Seek(0, io.SeekCurrent); e == nil && at < r.Size() {
			err = readFailure(r.name, io.ErrUnexpectedEOF)
		}
	}
	return n, err
}

type closers []io.Closer

func (c closers) Close() error {
	var errs []error
	for _, one := range c {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// GetSignatures returns the simple signatures that a docker-dir has. Other kinds of archives have none.
func (s source) GetSignatures(_ context.Context, instance *digest.Digest) ([][]byte, error) {
	var d digest.Digest
	if instance != nil {
		d = *instance
	}
	prefix, ok := s.image.signed[d]
	if !ok {
		return nil, nil
	}
	var all [][]byte
	for n := 1; n <= maxSignatures; n++ {
		name := prefix + "signature-" + strconv.Itoa(n)
		if !s.image.archive.tree.has(name) {
			break
		}
		data, err := readDocument(s.image.archive.tree, name, s.image.archive.limits.DocumentBytes)
		if err != nil {
			return nil, err
		}
		if len(data) > 0 && data[0] != 0 { // what begins with a zero is another kind of signature
			all = append(all, data)
		}
	}
	return all, nil
}

// LayerInfosForCopy says that the manifest is right.
func (s source) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

// String helps in logs.
func (s source) String() string {
	return fmt.Sprintf("%s image %s", s.image.archive.kind, s.image.ID())
}
