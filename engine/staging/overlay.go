package staging

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/system"
	"golang.org/x/sys/unix"
)

// maxOpaque is how many folders are remembered that hide what is below them.
const maxOpaque = 10_000

// overlayMarks are what a layer says to the file system overlay, which is to put it together with others: with these
// attributes it could show one file in the place of another. The store alone speaks to it, so they go. What the
// layer means by a whiteout stays, though that becomes such an attribute, too. The zero value is ready for use.
type overlayMarks struct {
	some   bool                // an entry has such attributes; no honest one does
	opaque map[string]struct{} // paths of folders that hide what is below them
}

// isOverlayAttribute tells whether overlay would read an attribute.
func isOverlayAttribute(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

// see takes note of an entry.
func (o *overlayMarks) see(header *tar.Header) {
	name := path.Clean("/" + header.Name)
	if path.Base(name) == archive.WhiteoutOpaqueDir && len(o.opaque) < maxOpaque {
		if o.opaque == nil {
			o.opaque = make(map[string]struct{})
		}
		o.opaque[path.Dir(name)] = struct{}{}
	}
	for key := range header.PAXRecords {
		attribute, ok := strings.CutPrefix(key, archive.PaxSchilyXattr)
		o.some = o.some || ok && isOverlayAttribute(attribute)
	}
}

// remove takes the attributes away again from what was unpacked into a folder. It looks at every file: what an entry
// made may meanwhile be elsewhere than the entry said, if links were replaced.
func (o *overlayMarks) remove(folder string) error {
	if !o.some {
		return nil
	}
	return filepath.WalkDir(folder, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		_, hides := o.opaque[path.Join("/", strings.TrimPrefix(name, folder))]
		return removeAttributes(name, hides)
	})
}

// removeAttributes takes such attributes of a file away, but not what a whiteout made of a folder that hides what is below
// it.
func removeAttributes(name string, hides bool) error {
	attributes, err := system.Llistxattr(name)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	for _, attribute := range attributes {
		if !isOverlayAttribute(attribute) || hides && strings.HasSuffix(attribute, ".overlay.opaque") {
			continue
		}
		if err := unix.Lremovexattr(name, attribute); err != nil {
			return fmt.Errorf("attribute %s of %s: %w", attribute, name, err)
		}
	}
	return nil
}
