package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/names"
)

// methodLoad is the method of a load's job.
const methodLoad = "transfers.Load"

// LoadOptions say what to load. Exactly one of Input and Path is set.
type LoadOptions struct {
	// UID is the user who asks: the job is his.
	UID uint32
	// Input is the archive. A regular file is read from its position on, in place if it is not compressed; a pipe or
	// a socket to its end. It is closed when the work is over, or when Load fails.
	Input io.ReadCloser
	// Path is the archive's, or that of a folder with an oci-dir or a docker-dir. It must be absolute.
	Path string
	// AllowPath lets a path be given.
	AllowPath bool
	// Name is one more reference for the image, if there is only one in the archive. Empty: none.
	Name string
}

// LoadResult is the value that a load's job ends with.
type LoadResult struct {
	// IDs are those of the images, 64 hex digits each, in the order of the archive.
	IDs []string
	// Names are their references; for an image without one, its id with sha256: before it.
	Names []string
}

// Load starts a job that brings all images of an archive into the store: a docker-archive, an oci-archive, or a
// docker-dir or oci-dir as a folder or a tar, compressed or not. The host's signature policy judges each.
//
// An image gets the names that the archive gives it; one that was another image's moves, as with podman. If anything
// is wrong with the archive or with one of its images, none stays that was not there before, and no name moves.
//
// The caller closes the watch. The job's result is a LoadResult; its errors are those of io.imaged.transfers.Load. Load
// itself fails with errdefs.InvalidParameter, InvalidReference, PermissionDenied and LimitExceeded. The context bounds
// only the start.
func (e *Engine) Load(ctx context.Context, o LoadOptions) (*jobs.Watch, error) {
	in := &input{ReadCloser: o.Input, path: o.Path, allowPath: o.AllowPath}
	l := &loader{e: e, in: in}
	err := in.check(ctx)
	if err == nil && o.Name != "" {
		l.name, err = tagName(o.Name)
	}
	if err != nil {
		return nil, in.fail(err)
	}
	w, err := e.jobs.Start(jobs.Spec{Method: methodLoad, Subject: in.subject(), UID: o.UID, Run: l.run})
	if err != nil {
		return nil, in.fail(err)
	}
	return w, nil
}

// tagName completes a name that an image is to get.
func tagName(name string) (string, error) {
	named, err := names.Tag(name)
	if err != nil {
		return "", err
	}
	return named.String(), nil
}

// input is where an upload comes from.
type input struct {
	io.ReadCloser
	path      string
	allowPath bool
	url       bool // it comes from elsewhere
}

// check looks whether there is one way, and whether it may be gone.
func (in *input) check(ctx context.Context) error {
	ways := 0
	for _, is := range []bool{in.ReadCloser != nil, in.path != "", in.url} {
		if is {
			ways++
		}
	}
	switch {
	case ctx.Err() != nil:
		return cancelled(ctx)
	case ways != 1:
		return &errdefs.InvalidParameter{Parameter: "fileDescriptor", Reason: "give the data in exactly one way"}
	case in.path == "":
		return in.checkFile()
	case !in.allowPath:
		return &errdefs.PermissionDenied{Reason: "only the daemon's own user may name a path"}
	case !filepath.IsAbs(in.path):
		return &errdefs.InvalidParameter{Parameter: "path", Reason: "it is not absolute"}
	}
	return nil
}

// checkFile looks whether a descriptor can be read.
func (in *input) checkFile() error {
	file, ok := in.ReadCloser.(*os.File)
	if !ok {
		return nil
	}
	d, err := describe(file)
	if err != nil {
		return err
	}
	if !d.opened(unix.O_RDONLY) {
		return &errdefs.InvalidParameter{Parameter: "fileDescriptor", Reason: "it is not open for reading"}
	}
	switch d.mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFIFO:
		return nil
	case unix.S_IFSOCK:
		if d.stream {
			return nil
		}
	}
	return &errdefs.InvalidParameter{Parameter: "fileDescriptor", Reason: wrongKind}
}

// descriptor is what an open file is of, and how it was opened.
type descriptor struct {
	path  string // in /proc; valid while the file is open
	mode  uint32 // of its inode
	flags int
	// stream says of a socket that bytes may flow through it: it keeps no messages apart, and does not listen.
	stream bool
}

// wrongKind is what is wrong with a descriptor of anything else.
const wrongKind = "it is no regular file, pipe or stream socket"

func describe(file *os.File) (d descriptor, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return d, err
	}
	var st unix.Stat_t
	if cerr := raw.Control(func(fd uintptr) {
		d.path = descriptorPath(fd)
		if d.flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0); err == nil {
			err = unix.Fstat(int(fd), &st)
		}
		kind, kindErr := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
		listens, listensErr := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		d.stream = errors.Join(kindErr, listensErr) == nil && kind == unix.SOCK_STREAM && listens == 0
	}); cerr != nil {
		err = cerr
	}
	d.mode = st.Mode
	return d, err
}

// opened tells whether it can be read, or written, as the mode says: O_RDONLY or O_WRONLY.
func (d descriptor) opened(mode int) bool {
	has := d.flags & unix.O_ACCMODE
	return d.flags&unix.O_PATH == 0 && (has == mode || has == unix.O_RDWR)
}

// subject tells what it is, for people.
func (in *input) subject() string {
	if in.path != "" {
		return clean(in.path)
	}
	return "(uploaded)"
}

// open opens the path as the input.
func (in *input) open() error {
	f, err := os.OpenFile(in.path, os.O_RDONLY|unix.O_NONBLOCK, 0) // not waiting for anyone, should it be a FIFO
	if err != nil {
		return badPath(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &errdefs.InvalidParameter{Parameter: "path", Reason: "it is no regular file"}
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	in.ReadCloser = f
	return nil
}

// badPath turns an error of opening or making a path into the caller's, if it is.
func badPath(err error) error {
	is := func(target error) bool { return errors.Is(err, target) }
	if !errdefs.Known(err) && slices.ContainsFunc(pathErrors, is) {
		return &errdefs.InvalidParameter{Parameter: "path", Reason: clean(err.Error())}
	}
	return err
}

// pathErrors are those that another path would not have.
var pathErrors = []error{
	fs.ErrNotExist, fs.ErrPermission, unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG, unix.EINVAL, unix.EROFS,
}

// close frees the input.
func (in *input) close() error {
	if in.ReadCloser == nil {
		return nil
	}
	return in.ReadCloser.Close()
}

// fail frees the input of an operation that does not begin.
func (in *input) fail(err error) error {
	_ = in.close() // nothing was written to it
	return err
}
