package tarindex

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// LimitEntries is the name of the limit that Read takes, as errdefs.LimitExceeded carries it.
const LimitEntries = "archive.entries"

// maxHops is how many symbolic links may lead to a file.
const maxHops = 8

// Index tells where the files of an archive lie. It never changes once it is made, and is safe for
// concurrent use.
type Index struct {
	r     io.ReaderAt
	files map[string]place
	links map[string]string // target of each symbolic link, as it stands in the archive
	twice map[string]bool   // names of several entries
}

type place struct{ offset, size int64 }

// Read indexes the archive that r holds, of size bytes in all, and of at most entries entries. Its errors are
// errdefs.InvalidArchive, LimitExceeded (LimitEntries), Cancelled, and what r returns.
func Read(ctx context.Context, r io.ReaderAt, size, entries int64) (*Index, error) {
	x := &Index{r: r, files: map[string]place{}, links: map[string]string{}, twice: map[string]bool{}}
	section := io.NewSectionReader(r, 0, size)
	archive := tar.NewReader(section)
	for n := int64(0); ; n++ {
		header, err := archive.Next()
		switch {
		case ctx.Err() != nil:
			return nil, &errdefs.Cancelled{Err: context.Cause(ctx)}
		case errors.Is(err, io.EOF):
			return x, nil
		case err != nil:
			return nil, broken(err)
		case n >= entries:
			return nil, &errdefs.LimitExceeded{Limit: LimitEntries, Value: entries}
		}
		offset, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if err := x.add(header, offset, size); err != nil {
			return nil, err
		}
	}
}

// broken tells an archive that is no tar from one that cannot be read.
func broken(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrInsecurePath) {
		return &errdefs.InvalidArchive{Reason: "it is no tar archive, or cut off: " + err.Error(), Err: err}
	}
	return fmt.Errorf("tar archive: %w", err)
}

// add takes an entry in.
func (x *Index) add(h *tar.Header, offset, size int64) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeSymlink:
		x.note(name)
		x.links[name] = h.Linkname
		return nil
	case tar.TypeReg:
	default:
		return invalid("its entry %s is neither a file nor a folder (type %q)", strconv.Quote(h.Name), h.Typeflag)
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return invalid("its entry %s is a sparse file", strconv.Quote(h.Name))
		}
	}
	if h.Size < 0 || h.Size > size-offset {
		return invalid("its entry %s is cut off", strconv.Quote(h.Name))
	}
	x.note(name)
	x.files[name] = place{offset, h.Size}
	return nil
}

// note records that a name has an entry.
func (x *Index) note(name string) {
	_, file := x.files[name]
	_, link := x.links[name]
	if file || link {
		x.twice[name] = true
	}
}

// cleanName returns the name in its shortest form. The archive's own folder becomes ".".
func cleanName(name string) (string, error) {
	if name == "" || path.IsAbs(name) || slices.Contains(strings.Split(name, "/"), "..") {
		return "", invalid("the name %s of an entry is empty, absolute, or leads out of it", strconv.Quote(name))
	}
	return path.Clean(name), nil
}

func invalid(format string, args ...any) error {
	return &errdefs.InvalidArchive{Reason: fmt.Sprintf(format, args...)}
}

// Links tells whether the archive has symbolic links, and names one.
func (x *Index) Links() (string, bool) {
	for _, name := range slices.Sorted(maps.Keys(x.links)) {
		return name, true
	}
	return "", false
}

// Names returns the names of all files, sorted, without symbolic links.
func (x *Index) Names() []string { return slices.Sorted(maps.Keys(x.files)) }

// Has tells whether there is a file or a symbolic link of that name.
func (x *Index) Has(name string) bool {
	_, file := x.files[name]
	_, link := x.links[name]
	return file || link
}

// Open returns the content of a file. It does not follow symbolic links. The error is errdefs.InvalidArchive if there
// is no such file, or more than one.
func (x *Index) Open(name string) (*io.SectionReader, error) {
	if x.twice[name] {
		return nil, invalid("it has the file %s more than once", strconv.Quote(name))
	}
	if p, ok := x.files[name]; ok {
		return io.NewSectionReader(x.r, p.offset, p.size), nil
	}
	if _, ok := x.links[name]; ok {
		return nil, invalid("%s is a symbolic link", strconv.Quote(name))
	}
	return nil, invalid("it has no file %s", strconv.Quote(name))
}

// Follow returns the content of the file that a name, or the symbolic links from it, lead to. Each must stay within
// the archive. Links in the middle of a name are not followed.
func (x *Index) Follow(name string) (*io.SectionReader, error) {
	at := name
	for range maxHops {
		target, ok := x.links[at]
		if !ok || x.twice[at] {
			return x.Open(at)
		}
		at = path.Join(path.Dir(at), target)
		if path.IsAbs(target) || at == ".." || strings.HasPrefix(at, "../") {
			return nil, invalid("the symbolic link %s leads out of it", strconv.Quote(name))
		}
	}
	return nil, invalid("the symbolic link %s leads nowhere", strconv.Quote(name))
}
