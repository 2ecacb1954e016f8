package engine

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/containers/common/libimage"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/names"
)

// methodImport is the method of an import's job.
const methodImport = "transfers.Import"

// ImportOptions say what to import and what to make of it. Exactly one of Input, Path and URL is set.
type ImportOptions struct {
	// UID is the user who asks: the job is his.
	UID uint32
	// Input is the tar, compressed or not. It is closed when the work is over, or when Import fails.
	Input io.ReadCloser
	// Path is the tar's. It must be absolute.
	Path string
	// AllowPath lets a path be given.
	AllowPath bool
	// URL is the tar's, http or https. It may carry a user name and a password, which no job or error shows.
	URL string
	// Name is the reference that the image gets. Empty: none.
	Name string
	// Message goes into the image's history.
	Message string
	// Changes are instructions as in a Containerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER,
	// VOLUME, WORKDIR. With ONBUILD the image is of docker's format, as OCI's has no place for it.
	Changes []string
	// Platform is noted in the image. Nil, or an empty field: this host's.
	Platform *names.Platform
}

// ImportResult is the value that an import's job ends with.
type ImportResult struct {
	// ID is the image's, 64 hex digits.
	ID string
}

// Import starts a job that makes an image of a tar of a root file system. The tar must be whole, with its end mark: one
// that a broken pipe cut off is refused, wherever it was cut. The host's signature policy judges the image as it
// judges those of the transport tarball.
//
// The caller closes the watch. The job's result is an ImportResult; its errors are those of io.imaged.transfers.Import.
// Import itself fails with errdefs.InvalidParameter, InvalidReference, PermissionDenied and LimitExceeded. The context
// bounds only the start.
func (e *Engine) Import(ctx context.Context, o ImportOptions) (*jobs.Watch, error) {
	in := &input{ReadCloser: o.Input, path: o.Path, allowPath: o.AllowPath, url: o.URL != ""}
	i := &importer{e: e, in: in}
	err := in.check(ctx)
	subject := in.subject()
	if err == nil && in.url {
		i.url, err = parseURL(o.URL)
		subject = clean(o.URL)
	}
	if err == nil {
		err = i.prepare(o)
	}
	if err != nil {
		return nil, in.fail(err)
	}
	w, err := e.jobs.Start(jobs.Spec{Method: methodImport, Subject: subject, UID: o.UID, Run: i.run})
	if err != nil {
		return nil, in.fail(err)
	}
	return w, nil
}

// maxChanges is how many changes may be given, and maxMessage how long a message may be, in bytes.
const (
	maxChanges = 1000
	maxMessage = 64 << 10
)

// prepare checks the options and says what image is to be made.
func (i *importer) prepare(o ImportOptions) (err error) {
	if o.Name != "" {
		if i.name, err = tagName(o.Name); err != nil {
			return err
		}
	}
	switch {
	case len(o.Changes) > maxChanges:
		return &errdefs.InvalidParameter{Parameter: "changes", Reason: "there are more than 1,000"}
	case len(o.Message) > maxMessage:
		return &errdefs.InvalidParameter{Parameter: "message", Reason: "it is longer than 64 KiB"}
	}
	config, err := libimage.ImageConfigFromChanges(o.Changes)
	if err != nil {
		return &errdefs.InvalidParameter{Parameter: "changes", Reason: clean(err.Error())}
	}
	platform := names.Platform{}
	if o.Platform != nil {
		platform = *o.Platform
	}
	platform = platform.WithHost()
	i.rootfs = archives.RootFSOptions{
		Config: config.ImageConfig, OnBuild: config.OnBuild, Message: o.Message,
		Platform: ociv1.Platform{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant},
	}
	return nil
}

// importer is the work of an import's job.
type importer struct {
	e      *Engine
	in     *input
	url    *download // nil: it does not come from elsewhere
	name   string    // complete; empty: none
	rootfs archives.RootFSOptions
}

// run imports. It is the Run of the job.
func (i *importer) run(ctx context.Context, r *jobs.Reporter) (result any, err error) {
	defer func() {
		if e := i.in.close(); e != nil && err == nil {
			i.e.log.WithError(e).Warn("import: closing what was read")
		}
	}()
	archive, err := i.open(ctx, r)
	if err != nil {
		return nil, i.e.archiveError(ctx, r, err)
	}
	uploaded(r.Progress())
	img := archive.Images()[0]
	s := &storing{e: i.e, reporter: r, kind: events.Imported}
	var to []string
	if i.name != "" {
		to = []string{i.name}
	}
	s.add(img, to)
	err = s.run(ctx)
	return ImportResult{ID: img.ID()}, i.e.archiveError(ctx, r, errors.Join(err, archive.Close()))
}

// open reads the tar and makes an image of it.
func (i *importer) open(ctx context.Context, r *jobs.Reporter) (*archives.Archive, error) {
	i.rootfs.Created = time.Now().UTC()
	o := i.e.archiveOptions(r)
	switch {
	case i.url != nil:
		return i.url.open(ctx, i.e, r, func(body io.Reader) (*archives.Archive, error) {
			return archives.OpenRootFS(ctx, body, o, i.rootfs)
		})
	case i.in.path != "":
		if err := i.in.open(); err != nil {
			return nil, err
		}
	}
	stop := closeOnCancel(ctx, i.in)
	defer stop()
	return archives.OpenRootFS(ctx, reading(i.in), o, i.rootfs)
}
