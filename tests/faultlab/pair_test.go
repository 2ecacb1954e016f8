package faultlab

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/varlink"
)

// TestPair holds that two daemons live together on one store: either sees what the other does, and one that was killed
// and is started again clears up what was its own, while the other one goes on.
func TestPair(t *testing.T) {
	need(t)
	t.Parallel()
	op := &operations[0] // pull
	l := newLab(t, op, false)
	dir := filepath.Join(l.dir, "second")
	must(t, os.Mkdir(dir, 0o700))
	first, second := l.daemon, l.daemon
	start := func() {
		t.Helper()
		var err error
		second, err = startDaemon(dir, l.disk, &l.log, "--runroot", l.runRoot())
		must(t, err)
	}
	t.Cleanup(func() { second.kill() })
	start()
	after := l.after(op)
	for range 3 {
		l.holds(first, l.before)
		done := make(chan error, 1)
		go func() { done <- second.call(t.Context(), op.call) }()
		timer := time.NewTimer(time.Duration(l.random.Int64N(int64(300 * time.Millisecond))))
		<-timer.C
		second.kill()
		acked := <-done == nil
		l.daemon = first
		must(t, l.call(load)) // the same image, from elsewhere
		l.holds(first, after)
		start()
		l.holds(second, after)
		l.sound()
		l.daemon = second
		must(t, l.call(op.call))
		must(t, l.call(func(ctx context.Context, c *varlink.Client) error { return remove(ctx, c, newID) }))
		t.Logf("acknowledged: %v", acked)
	}
	must(t, second.stop())
	l.holds(first, l.before)
	l.sound()
	must(t, first.stop())
	l.empty()
}

// holds fails the test unless a daemon says that the store is so.
func (l *lab) holds(d *daemon, want state) {
	l.t.Helper()
	l.daemon = d
	if d := cmp.Diff(want, l.list()); d != "" {
		l.t.Errorf("-want +got\n%s", d)
	}
}
