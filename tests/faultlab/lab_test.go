package faultlab

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/varlink"
)

// lab is the place of one case.
type lab struct {
	t      *testing.T
	op     *operation
	dir    string
	disk   *disk
	daemon *daemon
	log    buffer
	flags  []string
	before state
	random *rand.Rand
}

// newLab brings up a daemon on a fresh copy of the template.
func newLab(t *testing.T, op *operation, tmpfs bool, flags ...string) *lab {
	t.Helper()
	dir, err := os.MkdirTemp(world.dir, "")
	must(t, err)
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(t.Name())) // never fails
	l := &lab{t: t, op: op, dir: dir, flags: flags, random: rand.New(rand.NewPCG(world.seed, hash.Sum64()))}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s=%d; the daemon's log:\n%s", seedVariable, world.seed, l.log.String())
		}
		must(t, os.RemoveAll(dir))
	})
	l.disk = newDisk(t, dir, tmpfs)
	t.Cleanup(func() {
		if l.daemon != nil {
			l.daemon.kill()
		}
	})
	l.start()
	l.before = l.list()
	return l
}

func (l *lab) root() string    { return filepath.Join(l.disk.path, "root") }
func (l *lab) runRoot() string { return filepath.Join(l.dir, "run") }

// start starts the daemon.
func (l *lab) start() {
	l.t.Helper()
	d, err := startDaemon(l.dir, l.disk, &l.log, l.flags...)
	must(l.t, err)
	l.daemon = d
}

// call makes a call that gets an answer in time, whatever it is.
func (l *lab) call(do func(context.Context, *varlink.Client) error) error {
	ctx, cancel := context.WithTimeout(l.t.Context(), callTimeout)
	defer cancel()
	return l.daemon.call(ctx, do)
}

// typed fails the test unless an error is one of imaged's own that the fault explains.
func (l *lab) typed(err error, names ...string) {
	l.t.Helper()
	if err == nil {
		return
	}
	found, ok := errors.AsType[varlink.Error](err)
	if !ok {
		l.t.Errorf("not one of imaged's errors: %v", err)
		return
	}
	short := found.VarlinkError()[strings.LastIndexByte(found.VarlinkError(), '.')+1:]
	for _, name := range names {
		if short == name {
			return
		}
	}
	l.t.Errorf("%s, want one of %v: %v", short, names, err)
}

// reads holds that reading is still possible, and gives what was before or what is after.
func (l *lab) reads() {
	l.t.Helper()
	if err := l.call(func(ctx context.Context, c *varlink.Client) error {
		_, err := list(ctx, c)
		return err
	}); err != nil {
		l.t.Errorf("read under the fault: %v", err)
	}
}

// boot is what happens after a power cut.
func (l *lab) boot() {
	l.t.Helper()
	l.daemon.kill()
	must(l.t, l.disk.unmount())
	must(l.t, os.RemoveAll(l.runRoot()))
	must(l.t, l.disk.mount())
}

// TestFaults holds the invariants after every operation under every fault.
func TestFaults(t *testing.T) {
	need(t)
	t.Parallel()
	for _, f := range faults {
		for _, op := range operations {
			for point := range f.points(&op) {
				t.Run(fmt.Sprintf("%s/%s/%d", f.name, op.name, point), func(t *testing.T) {
					t.Parallel()
					l := newLab(t, &op, f.tmpfs, f.flags...)
					acked := f.strike(l, &op)
					t.Logf("acknowledged: %v", acked)
					l.verify(&op, acked)
				})
			}
		}
	}
}
