package index

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sys/unix"
)

// imageRecord is what images.json says of an image.
type imageRecord struct {
	ID             string            `json:"id"`
	Digest         string            `json:"digest"`
	Names          []string          `json:"names"`
	NamesHistory   []string          `json:"names-history"`
	TopLayer       string            `json:"layer"`
	BigDataNames   []string          `json:"big-data-names"`
	BigDataSizes   map[string]int64  `json:"big-data-sizes"`
	BigDataDigests map[string]string `json:"big-data-digests"`
	Created        time.Time         `json:"created"`
}

// layerRecord is what layers.json says of a layer.
type layerRecord struct {
	ID     string `json:"id"`
	Parent string `json:"parent"`
	Size   int64  `json:"diff-size"` // -1 or 0 where it is not known
}

// containerRecord is what containers.json says of a container.
type containerRecord struct {
	ID    string `json:"id"`
	Image string `json:"image"`
}

// lenient takes what the storage library takes: it does not mind invalid UTF-8 or names that come twice.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// table is the contents of a file of records, with what tells whether the file is still the same.
type table[R any] struct {
	path    string
	lock    lockFile
	seen    version
	records []R
}

// version tells one state of a file from another. The storage library writes a new mark into the lock file before it
// replaces the file, and the replaced file is another inode: two states can be alike in one, not in both.
type version struct {
	mark  [64]byte
	inode uint64
	size  int64
	mtime unix.Timespec
	there bool
}

// refresh reads the file if it is another than at the last call, and sets *changed then. A missing file is an empty table.
func (t *table[R]) refresh(changed *bool) error {
	mark, err := t.lock.mark()
	if err != nil {
		return err
	}
	var st unix.Stat_t
	err = unix.Stat(t.path, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if now := (version{mark: mark}); now != t.seen || t.records != nil {
			t.seen, t.records, *changed = now, nil, true
		}
		return nil
	case err != nil:
		return &os.PathError{Op: "stat", Path: t.path, Err: err}
	case t.seen == newVersion(mark, &st):
		return nil
	}
	return t.read(mark, changed)
}

func (t *table[R]) read(mark [64]byte, changed *bool) error {
	f, err := os.Open(t.path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: t.path, Err: err}
	}
	data := make([]byte, st.Size)
	if _, err := io.ReadFull(f, data); err != nil {
		return fmt.Errorf("%s: %w", t.path, err)
	}
	var records []R
	if len(data) > 0 { // an empty file is what the library makes of no records at all
		if err := json.Unmarshal(data, &records, lenient); err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
	}
	t.seen, t.records, *changed = newVersion(mark, &st), records, true
	return nil
}

func newVersion(mark [64]byte, st *unix.Stat_t) version {
	return version{mark: mark, inode: st.Ino, size: st.Size, mtime: st.Mtim, there: true}
}
