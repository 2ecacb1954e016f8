package archives

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containers/image/v5/types"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/archives/spool"
	"github.com/imaged-project/imaged/engine/archives/tarindex"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// Kind is what an archive is.
type Kind string

// The kinds.
const (
	// DockerArchive is what docker save writes.
	DockerArchive Kind = "docker-archive"
	// OCIArchive is a tar of an OCI layout.
	OCIArchive Kind = "oci-archive"
	// DockerDir is a folder with a manifest and its blobs, or a tar of one.
	DockerDir Kind = "docker-dir"
	// OCIDir is a folder with an OCI layout.
	OCIDir Kind = "oci-dir"
)

const (
	fileManifest = "manifest.json"
	fileIndex    = "index.json"
	fileLayout   = "oci-layout"
	fileLegacy   = "repositories"
)

// Options say how to open an archive. TmpDir must be set.
type Options struct {
	// TmpDir is the folder whose file system takes what must be written down.
	TmpDir string
	// Limits bound the archive.
	Limits Limits
	// Platform says which image of a manifest list is meant, by its choices of operating system, architecture
	// and variant. Nil: the one for this host.
	Platform *types.SystemContext
	// All takes all images of a manifest list, not only the one for the platform. They must all be there.
	All bool
	// Progress is called with the number of bytes that came in, for each piece of them, if the archive has to be
	// written down. Nil: nobody is told.
	Progress func(n int64)
}

// Archive is an open archive. Its methods are safe for concurrent use, but for Close.
type Archive struct {
	kind   Kind
	path   string // empty: it has none
	tree   tree
	images []*Image
	limits Limits
	close  func() error
}

// Open opens an archive. From a regular file it is read from the file's position on, in place if it is not compressed:
// the caller leaves the file open as long as the archive. From anything else it is read to its end. Errors are
// errdefs.InvalidArchive, LimitExceeded, StorageFull and Cancelled, and those of in.
func Open(ctx context.Context, in io.Reader, o Options) (*Archive, error) {
	o.Limits.Defaults()
	file, err := spool.Open(ctx, in, spool.Options{Dir: o.TmpDir, Bytes: o.Limits.Bytes, Ratio: o.Limits.Ratio, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	a := &Archive{limits: o.Limits, close: file.Close}
	if err := a.openTar(ctx, file, o); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return a, nil
}

// OpenPath opens the archive, or the folder, at an absolute path, whose owner is trusted with reading what is there:
// symbolic links that lead to it are followed.
func OpenPath(ctx context.Context, path string, o Options) (*Archive, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("archive %s: the path is not absolute", strconv.Quote(path))
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(resolved, os.O_RDONLY|unix.O_NONBLOCK, 0) // not waiting for anyone, should it be a FIFO
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	var a *Archive
	switch {
	case info.IsDir():
		err = f.Close()
		if err == nil {
			a, err = openDir(ctx, resolved, o)
		}
		return a, err
	case info.Mode().IsRegular():
		a, err = Open(ctx, f, o)
	default:
		err = invalid("%s is neither a regular file nor a folder", strconv.Quote(path))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	inner := a.close
	a.close = func() error { return errors.Join(inner(), f.Close()) }
	a.path = resolved
	return a, nil
}

func openDir(ctx context.Context, path string, o Options) (*Archive, error) {
	o.Limits.Defaults()
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	a := &Archive{limits: o.Limits, path: path, tree: dirTree{root}, close: root.Close}
	a.kind = DockerDir
	if a.tree.has(fileIndex) {
		a.kind = OCIDir
	}
	if err := a.readImages(ctx, o); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return a, nil
}

// openTar reads what kind the archive is, and its images.
func (a *Archive) openTar(ctx context.Context, file *spool.File, o Options) error {
	if file.Size == 0 {
		return invalid("it is empty")
	}
	index, err := tarindex.Read(ctx, file, file.Size, o.Limits.Entries)
	if err != nil {
		return err
	}
	tree := newTarTree(index)
	a.tree = tree
	if a.kind, err = sniff(tree, o.Limits.DocumentBytes); err != nil {
		return err
	}
	if name, ok := index.Links(); ok && a.kind != DockerArchive {
		return invalid("%s is a symbolic link, which this kind of archive (%s) has no use for", strconv.Quote(name), a.kind)
	}
	return a.readImages(ctx, o)
}

// sniff tells what kind an archive is. Docker's newer archives are an OCI layout, too; their own manifest says
// plainly which images there are and what they are called, so it goes first.
func sniff(t tree, most int64) (Kind, error) {
	switch {
	case t.has(fileManifest):
		data, err := readDocument(t, fileManifest, most)
		if err != nil {
			return "", err
		}
		if isList(data) {
			return DockerArchive, nil
		}
		return DockerDir, nil
	case t.has(fileIndex):
		return OCIArchive, nil
	case t.has(fileLegacy):
		return "", invalid("it was made by a docker older than 1.10, which is not supported: load it into a docker and save it anew")
	}
	return "", invalid("it has neither a %s nor an %s, so it is of no kind that is known", fileManifest, fileIndex)
}

func (a *Archive) readImages(ctx context.Context, o Options) error {
	var err error
	switch a.kind {
	case DockerArchive:
		err = a.readDocker(ctx)
	case DockerDir:
		err = a.readDockerDir(o)
	default:
		err = a.readOCI(o)
	}
	if err == nil && len(a.images) == 0 {
		err = invalid("there is no image in it")
	}
	return err
}

// Kind tells what kind the archive is.
func (a *Archive) Kind() Kind { return a.kind }

// Images returns the images, in the order of the archive. There is one at least.
func (a *Archive) Images() []*Image { return a.images }

// Close frees what was made for the archive. No image of it may be in use.
func (a *Archive) Close() error { return a.close() }

// Find returns the image that item means: the reference of one, @N for the one at place N, counted from zero, or
// empty for the only one. The error is errdefs.InvalidArchive if there is no such image.
func (a *Archive) Find(item string) (*Image, error) {
	if item == "" {
		if len(a.images) == 1 {
			return a.images[0], nil
		}
		return nil, notThere("it holds %d images", len(a.images))
	}
	if place, ok := strings.CutPrefix(item, "@"); ok {
		n, err := strconv.Atoi(place)
		if err != nil || n < 0 || n >= len(a.images) {
			return nil, notThere("it has no image %s; there are %d", strconv.Quote(item), len(a.images))
		}
		return a.images[n], nil
	}
	for _, img := range a.images {
		if img.isCalled(item) {
			return img, nil
		}
	}
	return nil, notThere("it has no image of the name %s", strconv.Quote(item))
}

// notThere is the error of an archive that is well, but does not have what it was asked for.
func notThere(format string, args ...any) error {
	return &errdefs.InvalidArchive{Reason: fmt.Sprintf(format, args...), Next: "say which image is meant, by a name that it has there, or by @N, counted from 0"}
}
