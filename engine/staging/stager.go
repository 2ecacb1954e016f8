package staging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"github.com/opencontainers/go-digest"
)

// ErrImpossible is returned where this store cannot take layers that were unpacked beside it.
var ErrImpossible = errors.New("layers cannot be unpacked beside this store")

// Stager unpacks layers for one store. It is safe for concurrent use.
type Stager struct {
	store  storage.Store
	driver graphdriver.DriverWithDiffer
	tmp    string
}

// New makes the stager of a store, or returns ErrImpossible. Temporary files of moderate size go into tmp.
func New(store storage.Store, tmp string) (*Stager, error) {
	driver, err := store.GraphDriver()
	if err != nil {
		return nil, err
	}
	differ, ok := driver.(graphdriver.DriverWithDiffer)
	mapped := len(store.UIDMap()) > 0 || len(store.GIDMap()) > 0
	if !ok || driver.String() != "overlay" || mapped {
		return nil, ErrImpossible
	}
	return &Stager{store: store, driver: differ, tmp: tmp}, nil
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
	stager *Stager
	output *graphdriver.DriverWithDifferOutput
}

// Stage unpacks a layer beside the store, and holds it against its digests and the budget. Errors are
// errdefs.InvalidArchive, LimitExceeded, ErrImpossible, those of the source's reader as they are, and the system's.
func (s *Stager) Stage(ctx context.Context, source Source, budget *Budget) (*Layer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
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
			err = errors.Join(err, os.RemoveAll(filepath.Dir(output.Target)))
		}
		return nil, err
	}
	return &Layer{stager: s, output: output}, nil
}

// Apply makes the layer one of the store, under an id and above a parent, which is empty for the lowest one. Whoever
// calls it makes sure that nobody else does for this id meanwhile, and that what was unpacked is on the disk. If the
// store has the layer already, that one stays. The store's layer lock is held for some milliseconds.
func (l *Layer) Apply(id, parent string) error {
	if _, err := l.stager.store.Layer(id); err == nil {
		return l.Discard()
	} else if !errors.Is(err, storage.ErrLayerUnknown) {
		return errors.Join(err, l.Discard())
	}
	if err := l.own(parent); err != nil {
		return errors.Join(err, l.Discard())
	}
	_, err := l.stager.store.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: id, ParentLayer: parent, DiffOutput: l.output, DiffOptions: &graphdriver.ApplyDiffWithDifferOpts{},
	})
	if err != nil {
		return errors.Join(fmt.Errorf("layer %s: %w", id, err), l.Discard())
	}
	return os.RemoveAll(filepath.Dir(l.output.Target)) // the folder around it
}

// own gives the layer's root the owner that its parent's has, as the library does unless the layer says something else.
// The library gives it the parent's mode itself.
func (l *Layer) own(parent string) error {
	if parent == "" || l.output.RootDirMode != nil {
		return nil
	}
	path, err := l.stager.driver.DifferTarget(parent)
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
	return l.stager.driver.CleanupStagingDirectory(l.output.Target)
}
