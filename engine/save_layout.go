package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/containers/image/v5/copy"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/layout"
)

// pipeSize is how many bytes a pipe of ours holds.
const pipeSize = 1 << 20

// layout writes one image as an OCI layout or in the form of the dir transport.
func (s *saver) layout(ctx context.Context, out *output, image *savedImage) error {
	files := out.files(s.spool)
	var dest types.ImageReference
	mime := manifest.DockerV2Schema2MediaType
	if s.options.Format == DockerDir {
		dest = layout.Dir(files, s.options.Compress)
	} else {
		o := layout.OCIOptions{Compress: s.options.Compress || !s.options.AcceptUncompressed}
		for _, t := range image.tags {
			o.Names = append(o.Names, t.String())
		}
		if s.item != "" {
			o.Names = []string{s.item}
		}
		dest, mime = layout.OCI(files, o), imgspec.MediaTypeImageManifest
	}
	if err := s.copyImage(ctx, dest, image, mime, s.e.systemContext()); err != nil {
		return err
	}
	return files.Finish()
}

// spool opens a temporary file without a name.
func (s *saver) spool() (*os.File, error) {
	return os.OpenFile(s.e.tmp.path, os.O_RDWR|unnamedFile, 0o600)
}

func (s *saver) copyImage(ctx context.Context, dest types.ImageReference, image *savedImage, mime string, sys *types.SystemContext) error {
	source, err := s.source(image.img.ID)
	if err != nil {
		return err
	}
	o := &copy.Options{RemoveSignatures: true, ForceManifestMIMEType: mime, SourceCtx: s.e.systemContext(), DestinationCtx: sys}
	if s.change != nil {
		s.change(o)
	}
	s.manifest, err = s.copy(ctx, dest, source, o)
	return err
}

// dockerArchive writes images as docker save does. The library writes to a path only, so it gets that of our descriptor.
// When it fails, it ends the archive nevertheless, with the images that it had; whoever reads that must not take it for
// all of them.
func (s *saver) dockerArchive(ctx context.Context, out *output, images []*savedImage) error {
	if file := out.whole(); file != nil {
		if err := s.writeDockerArchive(ctx, file, images, func() {}); err != nil {
			return errors.Join(err, file.Truncate(0)) // it was empty
		}
		return out.wroteWhole()
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, pipeSize) // faster, but not needed
	copied := make(chan error, 1)
	valve := &valve{Writer: out}
	go func() {
		_, err := io.CopyBuffer(valve, struct{ io.Reader }{r}, make([]byte, pipeSize))
		copied <- errors.Join(err, r.Close()) // whoever still writes gets an error
	}()
	err = s.writeDockerArchive(ctx, w, images, func() { valve.closed.Store(true) })
	return errors.Join(err, w.Close(), <-copied)
}

// valve lets nothing more through once it is closed.
type valve struct {
	io.Writer
	closed atomic.Bool
}

func (v *valve) Write(p []byte) (int, error) {
	if v.closed.Load() {
		return len(p), nil
	}
	return v.Writer.Write(p)
}

// writeDockerArchive calls failed, if it fails, before the library ends the archive.
func (s *saver) writeDockerArchive(ctx context.Context, file *os.File, images []*savedImage, failed func()) (err error) {
	sys := s.e.systemContext()
	w, err := dockerarchive.NewWriter(sys, descriptorPath(file.Fd()))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			failed()
		}
		err = errors.Join(err, w.Close())
	}()
	for _, image := range images {
		dest, err := w.NewReference(nil)
		if err != nil {
			return err
		}
		sys := s.e.systemContext()
		sys.DockerArchiveAdditionalTags = image.tags
		if err := s.copyImage(ctx, dest, image, manifest.DockerV2Schema2MediaType, sys); err != nil {
			return err
		}
	}
	return nil
}

// descriptorPath is a path that leads to what a descriptor is open on.
func descriptorPath(fd uintptr) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
