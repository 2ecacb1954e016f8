package staging

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// maxOwners is how many users and groups the files of a layer may have: the store keeps them in its list of layers, which
// everybody reads.
const maxOwners = 100_000

// scanner looks at a layer's headers before the helper process gets them: both read with the same package, so that
// they see the same. It runs as a coroutine of its caller. What it is given it has seen to the end when it returns:
// the helper could write for days on the word of one header of a sparse file.
type scanner struct {
	account *account
	next    func() (struct{}, bool)
	stop    func()

	rest []byte // given and not read yet
	over bool   // nothing more will be given
	done bool   // nothing more will be read
	err  error

	last       []string // parts of the name of the entry before
	uids, gids map[uint32]struct{}
	marks      overlayMarks
	root       bool // an entry stands for the layer's root itself
}

func newScanner(a *account) *scanner {
	s := &scanner{account: a, uids: make(map[uint32]struct{}), gids: make(map[uint32]struct{})}
	s.next, s.stop = iter.Pull(s.run)
	return s
}

// feed looks at the next piece of the layer.
func (s *scanner) feed(p []byte) error {
	if s.done {
		return s.err
	}
	s.rest = p
	if _, more := s.next(); !more {
		s.done = true
	}
	return s.err
}

// end says that there is no more, and returns what was wrong.
func (s *scanner) end() error {
	s.over = true
	return s.feed(nil)
}

// run reads the headers, and pauses whenever it needs more.
func (s *scanner) run(pause func(struct{}) bool) {
	archive := tar.NewReader(&pausing{s, pause})
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil {
			err = s.see(header)
		} else {
			err = &errdefs.InvalidArchive{Reason: "a layer is no tar archive, or cut off: " + err.Error(), Err: err}
		}
		if err != nil {
			s.err = err
			return
		}
	}
}

// see takes note of an entry.
func (s *scanner) see(header *tar.Header) error {
	if !strings.HasPrefix(path.Base(header.Name), archive.WhiteoutPrefix) {
		s.uids[uint32(header.Uid)] = struct{}{}
		s.gids[uint32(header.Gid)] = struct{}{}
	}
	// The library leaves the root as it is for an entry ".", but not for this one.
	s.root = s.root || filepath.Clean(header.Name) == "/"
	if len(s.uids)+len(s.gids) > maxOwners {
		return &errdefs.InvalidArchive{Reason: fmt.Sprintf("a layer has files of more than %d users and groups", maxOwners)}
	}
	if max(len(header.Name), len(header.Linkname)) >= unix.PathMax {
		return &errdefs.InvalidArchive{Reason: "a layer has a path that is longer than the system allows"}
	}
	s.marks.see(header)
	return s.account.file(header.Size, 1+s.parents(header.Name))
}

// parents counts the folders above an entry that may have to be made for it: those that the entry before did not have.
// One short header could ask for thousands.
func (s *scanner) parents(name string) int64 {
	names := strings.FieldsFunc(path.Clean("/"+name), func(r rune) bool { return r == '/' })
	known := 0
	for known < min(len(names), len(s.last)) && names[known] == s.last[known] {
		known++
	}
	s.last = names
	return int64(max(0, len(names)-1-known))
}

// owners returns the users and groups of the layer's files, in order.
func (s *scanner) owners() (uids, gids []uint32) {
	return slices.Sorted(maps.Keys(s.uids)), slices.Sorted(maps.Keys(s.gids))
}

// pausing reads what the scanner is given, and lets its caller go on where there is no more.
type pausing struct {
	s     *scanner
	pause func(struct{}) bool
}

func (p *pausing) Read(b []byte) (int, error) {
	for len(p.s.rest) == 0 {
		if p.s.over || !p.pause(struct{}{}) {
			return 0, io.EOF
		}
	}
	n := copy(b, p.s.rest)
	p.s.rest = p.s.rest[n:]
	return n, nil
}
