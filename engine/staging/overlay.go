package staging

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// maxMarked is how many files of a layer are remembered that speak to the file system overlay. No honest layer has any.
const maxMarked = 10_000

// overlayMarks are what a layer says to the file system overlay, which is to put it together with others: with these
// attributes it could show one file in the place of another. The store alone speaks to it, so they go. What the
// layer means by a whiteout stays, though that becomes such an attribute, too. The zero value is ready for use.
type overlayMarks struct {
	marked map[string][]string // names of attributes, by the path of the file
	opaque map[string]struct{} // paths of folders that hide what is below them
}

// isOverlayAttribute tells whether overlay would read an attribute.
func isOverlayAttribute(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

// see takes note of an entry.
func (o *overlayMarks) see(header *tar.Header) error {
	name := path.Clean("/" + header.Name)
	if path.Base(name) == archive.WhiteoutOpaqueDir && len(o.opaque) <= maxMarked {
		if o.opaque == nil {
			o.opaque = make(map[string]struct{})
		}
		o.opaque[path.Dir(name)] = struct{}{}
	}
	var attributes []string
	for key := range header.PAXRecords {
		if attribute, ok := strings.CutPrefix(key, archive.PaxSchilyXattr); ok && isOverlayAttribute(attribute) {
			attributes = append(attributes, attribute)
		}
	}
	if len(attributes) == 0 {
		return nil
	}
	if o.marked == nil {
		o.marked = make(map[string][]string)
	}
	o.marked[name] = append(o.marked[name], attributes...)
	if len(o.marked) > maxMarked || len(o.marked[name]) > maxMarked {
		return &errdefs.InvalidArchive{Reason: fmt.Sprintf("more than %d files of a layer have attributes that are the store's own", maxMarked)}
	}
	return nil
}

// remove takes the attributes away again from what was unpacked into a folder.
func (o *overlayMarks) remove(folder string) (err error) {
	if len(o.marked) == 0 {
		return nil
	}
	root, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for name, attributes := range o.marked {
		_, hides := o.opaque[name]
		for _, attribute := range attributes {
			if hides && strings.HasSuffix(attribute, ".overlay.opaque") {
				continue
			}
			if err := removeAttribute(root, name, attribute); err != nil {
				return fmt.Errorf("attribute %s of %s: %w", attribute, name, err)
			}
		}
	}
	return nil
}

// removeAttribute takes an attribute of a file below root away. Links lead nowhere else.
func removeAttribute(root *os.File, name, attribute string) error {
	fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil // another entry has replaced it
	case err != nil:
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	_, err = unix.Getxattr(path, attribute, nil)
	switch {
	case err == nil:
		err = unix.Removexattr(path, attribute)
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		err = nil // it could not be set; in a user namespace, trying to remove it would not be allowed
	}
	return errors.Join(err, file.Close())
}
