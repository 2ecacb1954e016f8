package engine

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/names"
)

// methodSave is the method of a save's job.
const methodSave = "transfers.Save"

// ArchiveFormat is the form of a saved image.
type ArchiveFormat string

// The formats. The dir formats are folders, and a tar of the folder where the output is a stream.
const (
	// DockerArchive is what docker save writes; it takes several images.
	DockerArchive ArchiveFormat = "docker_archive"
	// OCIArchive is a tar of an OCI layout.
	OCIArchive ArchiveFormat = "oci_archive"
	// DockerDir is the library's dir transport with docker's manifest.
	DockerDir ArchiveFormat = "docker_dir"
	// OCIDir is an OCI layout.
	OCIDir ArchiveFormat = "oci_dir"
)

var archiveFormats = []string{string(DockerArchive), string(OCIArchive), string(DockerDir), string(OCIDir)}

// SaveOptions say how to save images. Exactly one of Output and Path is given.
type SaveOptions struct {
	// UID is the user who asks: the job is his.
	UID uint32
	// AllowPath allows Path.
	AllowPath bool
	// Format is the form. Empty: OCIArchive.
	Format ArchiveFormat
	// Compress compresses layers in the dir formats. DockerDir has them uncompressed otherwise; OCIDir has them compressed
	// anyway, unless AcceptUncompressed is given without Compress.
	Compress bool
	// AcceptUncompressed leaves layers uncompressed in the OCI formats. They then need no temporary file.
	AcceptUncompressed bool
	// Tags are more references for the image, not for several ones, in all formats but DockerDir.
	Tags []string
	// Output gets the bytes. If it is an io.Closer, it is Save's from the call on, which closes it when the job's work
	// has ended, or at once if Save fails. A regular file gets them from its offset on. One whose Write may take for ever
	// should have SetWriteDeadline as a net.Conn has it; a pipe or socket as an *os.File will do.
	Output io.Writer
	// Path is where to make a file, or a folder for the dir formats. It is absolute, and there must be nothing yet.
	Path string
	// Detach lets the job go on when nobody watches it.
	Detach bool
}

// SaveResult is the value that a save's job ends with.
type SaveResult struct {
	// Size is how many bytes were written; of a folder, those in its files.
	Size int64
}

// Save starts a job that writes images out of the store. Of a manifest list it takes the image for this host. The
// archive has the reference that each image was found by; none if that was an id. Signatures are left behind.
//
// It holds no lock of the store, so a slow reader of the output is in nobody's way, but the images cannot be removed
// meanwhile. Layers go from the store to the output without a copy on the way, with one exception: an OCI layout with
// compressed layers that goes to a stream. Its compressed layers, one at a time, wait in a temporary file for their
// length to be known.
//
// The caller closes the watch. The job's result is a SaveResult; its errors are those of io.imaged.transfers.Save, and
// PolicyRejected where the host's policy.json does not let images leave the store. Save itself fails, besides, with
// errdefs.InvalidParameter, InvalidFormat, PermissionDenied and LimitExceeded. The context bounds only the start.
func (e *Engine) Save(ctx context.Context, names []string, o SaveOptions) (*jobs.Watch, error) {
	w, err := e.startSave(ctx, names, o)
	if closer, ok := o.Output.(io.Closer); ok && err != nil {
		_ = closer.Close() // nothing was written
	}
	return w, err
}

func (e *Engine) startSave(ctx context.Context, names []string, o SaveOptions) (*jobs.Watch, error) {
	if ctx.Err() != nil {
		return nil, cancelled(ctx)
	}
	if err := o.check(names); err != nil {
		return nil, err
	}
	tags, err := parseTags(o.Tags)
	if err != nil {
		return nil, err
	}
	s := &saver{exporter: exporter{e: e}, options: o, names: names, tags: tags}
	return e.jobs.Start(jobs.Spec{
		Method: methodSave, Subject: clean(strings.Join(names, " ")), UID: o.UID, Detach: o.Detach, Run: s.run,
	})
}

// check holds the options against each other and puts the default in.
func (o *SaveOptions) check(names []string) error {
	if o.Format == "" {
		o.Format = OCIArchive
	}
	invalid := func(parameter, reason string) error {
		return &errdefs.InvalidParameter{Parameter: parameter, Reason: reason}
	}
	switch {
	case len(names) == 0:
		return invalid("names", "there is no image to save")
	case slices.Contains(names, ""):
		return invalid("names", "one of them is empty")
	case !slices.Contains(archiveFormats, string(o.Format)):
		return &errdefs.InvalidFormat{Format: string(o.Format), Supported: archiveFormats}
	case len(names) > 1 && o.Format != DockerArchive:
		return &errdefs.InvalidFormat{
			Format: string(o.Format), Reason: fmt.Sprintf("it holds one image, and %d are named", len(names)), Supported: []string{string(DockerArchive)},
		}
	case o.Compress && !o.folder():
		return invalid("compress", "it is for the formats docker_dir and oci_dir only")
	case len(o.Tags) > 0 && len(names) > 1:
		return invalid("tags", "they are for a single image only")
	case len(o.Tags) > 0 && o.Format == DockerDir:
		return invalid("tags", "the format docker_dir has no place for references")
	case o.Path != "" && o.Output != nil, o.Path == "" && o.Output == nil:
		return invalid("path", "give one output: a path, a descriptor or the connection")
	case o.Path != "" && !o.AllowPath:
		return &errdefs.PermissionDenied{Reason: "only the daemon's own user may name a path"}
	case o.Path != "" && !filepath.IsAbs(o.Path):
		return invalid("path", "it is not absolute")
	}
	return nil
}

// folder tells whether the format is one of the dir formats.
func (o *SaveOptions) folder() bool { return o.Format == DockerDir || o.Format == OCIDir }

// parseTags reads the references that an image is to get.
func parseTags(texts []string) ([]reference.NamedTagged, error) {
	var tags []reference.NamedTagged
	for _, text := range texts {
		named, err := names.Normalize(text)
		if err != nil {
			return nil, err
		}
		tagged, ok := named.(reference.NamedTagged)
		if _, digested := named.(reference.Digested); !ok || digested {
			return nil, &errdefs.InvalidReference{Reference: clean(text), Reason: fmt.Sprintf("%s has no tag, or a digest", clean(named.String()))}
		}
		tags = append(tags, tagged)
	}
	return tags, nil
}
