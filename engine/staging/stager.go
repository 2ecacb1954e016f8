package staging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"github.com/opencontainers/go-digest"
)

// ErrImpossible is returned where this store cannot take layers that were unpacked beside it.
var ErrImpossible = errors.New("layers cannot be unpacked beside this store")

// ErrLost is returned if another program has removed what was unpacked. podman 4, when any of its commands ends, removes all
// that it finds unpacked beside the store.
var ErrLost = errors.New("another program has removed what was unpacked of a layer")

// Stager unpacks layers for one store. It is safe for concurrent use.
type Stager struct {
	store storage.Store
	tmp   string
}

// New makes the stager of a store, or returns ErrImpossible. Temporary files of moderate size go into tmp.
func New(store storage.Store, tmp string) (*Stager, error) {
	driver, err := store.GraphDriver()
	if err != nil {
		return nil, err
	}
	_, ok := driver.(graphdriver.DriverWithDiffer)
	mapped := len(store.UIDMap()) > 0 || len(store.GIDMap()) > 0
	if !ok || driver.String() != "overlay" || mapped {
		return nil, ErrImpossible
	}
	return &Stager{store: store, tmp: tmp}, nil
}

// driver returns the store's driver of now: the store makes a new one after another program has ended.
func (s *Stager) driver() (graphdriver.DriverWithDiffer, error) {
	driver, err := s.store.GraphDriver()
	if err != nil {
		return nil, err
	}
	differ, ok := driver.(graphdriver.DriverWithDiffer)
	if !ok {
		return nil, ErrImpossible
	}
	return differ, nil
}

// Source is a layer as it comes.
type Source struct {
	// Open opens it. Its reader ends with the context.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Digest is that of the bytes that come. Empty: it is not checked, since DiffID says enough.
	Digest digest.Digest
	// DiffID is the digest of the layer when decompressed.
	DiffID digest.Digest
	// Compressed is the digest that the store is told for the bytes that came. Empty: Digest.
	Compressed digest.Digest
}

// Layer is a layer that is unpacked and verified, but not in the store yet. It ends with Apply or Discard.
type Layer struct {
	stager  *Stager
	output  *graphdriver.DriverWithDifferOutput
	drivers [2]graphdriver.DriverWithDiffer // from before and after; one of them holds the lock
}

// Stage unpacks a layer beside the store, and holds it against its digests and the budget. Errors are
// errdefs.InvalidArchive, LimitExceeded, ErrImpossible, ErrLost, those of the source's reader as they are, and the system's.
func (s *Stager) Stage(ctx context.Context, source Source, budget *Budget) (*Layer, error) {
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before, err := s.driver()
	if err != nil {
		return nil, err
	}
	body, err := source.Open(ctx)
	if err != nil {
		return nil, err
	}
	work := &unpacking{ctx: ctx, cancel: cancel, source: source, body: body, account: &account{Budget: budget}, tmp: s.tmp}
	output, err := s.store.PrepareStagedLayer(nil, work)
	cancel()
	_ = body.Close() // what came of it was complete and verified, or is of no use
	if err != nil {
		budget.used.Add(-work.account.counted)
		if output != nil && output.Target != "" {
			if isLost(output) && caller.Err() == nil {
				err = ErrLost
			}
			err = errors.Join(err, os.RemoveAll(filepath.Dir(output.Target)))
		}
		return nil, err
	}
	after, err := s.driver()
	if err != nil {
		after = before
	}
	l := &Layer{stager: s, output: output, drivers: [2]graphdriver.DriverWithDiffer{before, after}}
	if err != nil {
		return nil, errors.Join(err, l.Discard())
	}
	return l, nil
}

// isLost tells whether the folder is gone that a layer was unpacked in.
func isLost(output *graphdriver.DriverWithDifferOutput) bool {
	_, err := os.Lstat(filepath.Dir(output.Target))
	return errors.Is(err, fs.ErrNotExist)
}

// Apply makes the layer one of the store, under an id and above a parent, which is empty for the lowest one. Whoever
// calls it makes sure that nobody else does for this id meanwhile, and that what was unpacked is on the disk. If the
// store has the layer already, that one stays. The store's layer lock is held for some milliseconds. Errors are ErrLost, and
// the system's.
func (l *Layer) Apply(id, parent string) error {
	if _, err := l.stager.store.Layer(id); err == nil {
		return l.Discard()
	} else if !errors.Is(err, storage.ErrLayerUnknown) {
		return errors.Join(err, l.Discard())
	}
	if err := l.own(parent); err != nil {
		return l.fail(err)
	}
	_, err := l.stager.store.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: id, ParentLayer: parent, DiffOutput: l.output, DiffOptions: &graphdriver.ApplyDiffWithDifferOpts{},
	})
	if err != nil {
		return l.fail(fmt.Errorf("layer %s: %w", id, err))
	}
	return l.free()
}

// fail discards the layer because of an error.
func (l *Layer) fail(err error) error {
	if isLost(l.output) {
		err = ErrLost
	}
	return errors.Join(err, l.Discard())
}

// own gives the layer's root the owner that its parent's has, as the library does unless the layer says something else.
// The library gives it the parent's mode itself.
func (l *Layer) own(parent string) error {
	if parent == "" || l.output.RootDirMode != nil {
		return nil
	}
	path, err := l.drivers[1].DifferTarget(parent)
	if err != nil {
		return err
	}
	uid, gid, err := owner(path)
	if err != nil {
		return err
	}
	return os.Chown(l.output.Target, uid, gid)
}

// Discard removes what was unpacked.
func (l *Layer) Discard() error {
	if split := l.output.TarSplit; split != nil {
		l.output.TarSplit = nil
		_ = split.Close() // it has no name and goes
	}
	return l.free()
}

// free gives the lock back, and removes the folder around the layer.
func (l *Layer) free() error {
	return errors.Join(l.drivers[0].CleanupStagingDirectory(l.output.Target), l.drivers[1].CleanupStagingDirectory(l.output.Target))
}
