package archives

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/archives/tarindex"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// content is an open file of an archive.
type content struct {
	*io.SectionReader
	io.Closer
}

// tree is where the files of an archive are: in a tar, or in a folder.
type tree interface {
	// has tells whether there is something of that name.
	has(name string) bool
	// open opens a regular file.
	open(name string) (content, error)
	// follow opens a regular file that symbolic links within the archive may lead to.
	follow(name string) (content, error)
}

// tarTree is a tar, or a folder in it.
type tarTree struct {
	index  *tarindex.Index
	prefix string
}

// newTarTree finds the folder in the tar that holds the archive: its own, or the only one there is.
func newTarTree(index *tarindex.Index) tarTree {
	top := ""
	for _, name := range index.Names() {
		first, _, below := strings.Cut(name, "/")
		if !below || top != "" && first != top {
			return tarTree{index: index}
		}
		top = first
	}
	t := tarTree{index: index, prefix: top}
	if t.has(fileManifest) || t.has(fileIndex) {
		return t
	}
	return tarTree{index: index}
}

func (t tarTree) has(name string) bool { return t.index.Has(path.Join(t.prefix, name)) }

func (t tarTree) open(name string) (content, error) {
	r, err := t.index.Open(path.Join(t.prefix, name))
	return content{r, io.NopCloser(nil)}, err
}

func (t tarTree) follow(name string) (content, error) {
	r, err := t.index.Follow(path.Join(t.prefix, name))
	return content{r, io.NopCloser(nil)}, err
}

// dirTree is a folder of the host.
type dirTree struct{ root *os.Root }

func (t dirTree) has(name string) bool {
	_, err := t.root.Lstat(name)
	return err == nil
}

// open opens a file without waiting for anyone, should it be a FIFO, and looks what it opened.
func (t dirTree) open(name string) (content, error) {
	info, err := t.root.Lstat(name)
	if err != nil {
		return content{}, openFailure(name, err)
	}
	if !info.Mode().IsRegular() {
		return content{}, invalid("%s is no regular file", strconv.Quote(name))
	}
	f, err := t.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return content{}, openFailure(name, err)
	}
	info, err = f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = invalid("%s is no regular file", strconv.Quote(name))
	}
	if err != nil {
		return content{}, errors.Join(err, f.Close())
	}
	return content{io.NewSectionReader(f, 0, info.Size()), f}, nil
}

func openFailure(name string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return &errdefs.InvalidArchive{Reason: fmt.Sprintf("its file %s: %s", strconv.Quote(name), err), Err: err}
}

func (t dirTree) follow(name string) (content, error) { return t.open(name) }

// readDocument reads a manifest, an index or a configuration.
func readDocument(t tree, name string, most int64) ([]byte, error) {
	c, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }() // it was only read
	if c.Size() > most {
		return nil, &errdefs.LimitExceeded{Limit: LimitDocumentBytes, Value: most}
	}
	data := make([]byte, c.Size())
	if _, err := io.ReadFull(c.SectionReader, data); err != nil {
		return nil, readFailure(name, err)
	}
	return data, nil
}

func readFailure(name string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &errdefs.InvalidArchive{Reason: fmt.Sprintf("its file %s is cut off", strconv.Quote(name)), Err: err}
	}
	return fmt.Errorf("archive: file %s: %w", strconv.Quote(name), err)
}

// parse reads a document that was written in JSON.
func parse(what string, data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return &errdefs.InvalidArchive{Reason: what + ": " + err.Error(), Err: err}
	}
	return nil
}

// isList tells whether a document is a list, not an object.
func isList(data []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) }

func invalid(format string, args ...any) error {
	return &errdefs.InvalidArchive{Reason: fmt.Sprintf(format, args...)}
}
