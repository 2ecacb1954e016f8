package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/progress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const alice, bob, daemon = 1000, 1001, 990

// untilCancelled is work that ends when its job is cancelled.
func untilCancelled(ctx context.Context, _ *jobs.Reporter) (any, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func start(t *testing.T, m *jobs.Manager, s jobs.Spec) *jobs.Watch {
	t.Helper()
	w, err := m.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func isCancelled(err error) bool {
	_, ok := errors.AsType[*errdefs.Cancelled](err)
	return ok
}

func TestResult(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		value any
		err   error
		state jobs.State
	}{{"done", 42, nil, jobs.Done}, {"failed", nil, broken, jobs.Failed}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := jobs.NewManager(jobs.Options{})
			w := start(t, m, jobs.Spec{UID: alice, Run: func(context.Context, *jobs.Reporter) (any, error) { return c.value, c.err }})
			defer w.Close()
			value, err := w.Result(t.Context())
			if value != c.value || !errors.Is(err, c.err) {
				t.Errorf("result is %v, %v", value, err)
			}
			info, err := m.Wait(t.Context(), w.Job(), alice)
			if err != nil || info.State != c.state || info.Finished.IsZero() {
				t.Errorf("job is %+v, %v", info, err)
			}
		})
	}
}

func TestLastOneToLeaveCancels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := jobs.NewManager(jobs.Options{})
		spec := jobs.Spec{UID: alice, Key: "k", Run: untilCancelled}
		first := start(t, m, spec)
		second := start(t, m, spec)
		if first.Job() != second.Job() {
			t.Fatal("equal work of one user did not join")
		}
		first.Close()
		first.Close()
		synctest.Wait()
		if state := m.List(alice)[0].State; state != jobs.Running {
			t.Errorf("one of two left: job is %s", state)
		}
		second.Close()
		if _, err := second.Result(t.Context()); !isCancelled(err) {
			t.Errorf("both left: result is %v", err)
		}
		synctest.Wait()
		if m.Busy() {
			t.Error("still busy")
		}
	})
}

func TestOnlyEqualWorkOfOneUserJoins(t *testing.T) {
	t.Parallel()
	m := jobs.NewManager(jobs.Options{})
	ids := map[string]bool{}
	for _, s := range []jobs.Spec{
		{UID: alice, Method: "a", Key: "k"},
		{UID: bob, Method: "a", Key: "k"},
		{UID: alice, Method: "b", Key: "k"},
		{UID: alice, Method: "a", Key: "l"},
		{UID: alice, Method: "a"},
		{UID: alice, Method: "a"},
	} {
		s.Run = untilCancelled
		w := start(t, m, s)
		defer w.Close()
		ids[w.Job()] = true
	}
	if len(ids) != 6 {
		t.Errorf("%d jobs, want 6", len(ids))
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := jobs.NewManager(jobs.Options{})
		release := make(chan struct{})
		spec := jobs.Spec{UID: alice, Key: "k", Run: func(ctx context.Context, _ *jobs.Reporter) (any, error) {
			<-release
			return "ok", ctx.Err()
		}}
		first := start(t, m, spec)
		spec.Detach = true
		start(t, m, spec).Close()
		first.Close()
		close(release)
		info, err := m.Wait(t.Context(), first.Job(), alice)
		if err != nil || info.State != jobs.Done {
			t.Errorf("detached job: %+v, %v", info, err)
		}
	})
}

func TestCancelledHasItsResultBeforeTheWorkStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := jobs.NewManager(jobs.Options{})
		release := make(chan struct{})
		runs := 0
		spec := jobs.Spec{UID: alice, Key: "k", Run: func(_ context.Context, r *jobs.Reporter) (any, error) {
			runs++
			<-release
			r.Line(jobs.Engine, "too late")
			return "ok", nil
		}}
		w := start(t, m, spec)
		synctest.Wait()
		if err := m.Cancel(w.Job(), alice); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Result(t.Context()); !isCancelled(err) {
			t.Errorf("result is %v", err)
		}
		again := start(t, m, spec)
		defer again.Close()
		synctest.Wait()
		if runs != 1 || !m.Busy() || again.Job() == w.Job() {
			t.Errorf("equal work began before the cancelled one stopped (%d runs)", runs)
		}
		close(release)
		if value, err := again.Result(t.Context()); value != "ok" || err != nil {
			t.Errorf("second job: %v, %v", value, err)
		}
		for u := range w.Updates(t.Context()) {
			t.Errorf("cancelled job still says %+v", u)
		}
		w.Close()
	})
}

func TestAccess(t *testing.T) {
	t.Parallel()
	m := jobs.NewManager(jobs.Options{UID: daemon})
	w := start(t, m, jobs.Spec{UID: alice, Subject: "x", Run: untilCancelled})
	defer w.Close()
	for _, uid := range []uint32{alice, daemon, 0} {
		if len(m.List(uid)) != 1 {
			t.Errorf("user %d does not see the job", uid)
		}
		if a, err := m.Attach(w.Job(), uid); err != nil {
			t.Errorf("user %d cannot attach: %v", uid, err)
		} else {
			a.Close()
		}
	}
	_, attach := m.Attach(w.Job(), bob)
	_, wait := m.Wait(t.Context(), w.Job(), bob)
	for _, err := range []error{attach, wait, m.Cancel(w.Job(), bob), m.Cancel("nonsense", 0)} {
		if _, ok := errors.AsType[*errdefs.JobNotFound](err); !ok {
			t.Errorf("stranger got %v", err)
		}
	}
	if len(m.List(bob)) != 0 {
		t.Error("stranger sees the job")
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	m := jobs.NewManager(jobs.Options{MaxRunning: 1, MaxWatchers: 2})
	spec := jobs.Spec{UID: alice, Key: "k", Run: untilCancelled}
	w := start(t, m, spec)
	defer w.Close()
	defer start(t, m, spec).Close()
	_, third := m.Start(spec)
	_, attach := m.Attach(w.Job(), alice)
	spec.Key = "other"
	_, more := m.Start(spec)
	for limit, err := range map[string]error{jobs.LimitWatchers: errors.Join(third, attach), jobs.LimitRunning: more} {
		if got, ok := errors.AsType[*errdefs.LimitExceeded](err); !ok || got.Limit != limit {
			t.Errorf("want limit %s, got %v", limit, err)
		}
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := m.Start(spec); !isCancelled(err) {
		t.Errorf("start after shutdown: %v", err)
	}
}

func TestFinishedJobsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := jobs.NewManager(jobs.Options{MaxFinished: 3})
		for range 5 {
			w := start(t, m, jobs.Spec{UID: alice, Run: func(context.Context, *jobs.Reporter) (any, error) { return nil, nil }})
			if _, err := w.Result(t.Context()); err != nil {
				t.Error(err)
			}
			w.Close()
			time.Sleep(time.Second)
		}
		synctest.Wait()
		list := m.List(alice)
		if len(list) != 3 {
			t.Fatalf("%d finished jobs are remembered, want 3", len(list))
		}
		time.Sleep(10*time.Minute - 2*time.Second)
		if got := m.List(alice); len(got) != 1 || got[0].ID != list[2].ID {
			t.Errorf("after ten minutes: %+v", got)
		}
	})
}

func TestLinesAreNeverLostOrReordered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := jobs.NewManager(jobs.Options{})
		var want, got []jobs.Line
		for i := range 5000 {
			want = append(want, jobs.Line{Source: jobs.Stdout, Text: fmt.Sprint("line ", i)})
		}
		w := start(t, m, jobs.Spec{UID: alice, Run: func(_ context.Context, r *jobs.Reporter) (any, error) {
			for i, l := range want {
				r.Line(l.Source, l.Text)
				if i%10 == 0 {
					time.Sleep(7 * time.Millisecond)
				}
			}
			return nil, nil
		}})
		defer w.Close()
		began, updates := time.Now(), 0
		for u, err := range w.Updates(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, u.Lines...)
			updates++
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if most := int(time.Since(began)/(100*time.Millisecond)) + 2; updates > most {
			t.Errorf("%d updates in %s", updates, time.Since(began))
		}
	})
}

func TestLateWatcher(t *testing.T) {
	t.Parallel()
	m := jobs.NewManager(jobs.Options{})
	first := start(t, m, jobs.Spec{UID: alice, Run: func(_ context.Context, r *jobs.Reporter) (any, error) {
		r.Progress().Add(progress.Blob{Digest: "a", Kind: progress.Layer}, progress.Blob{Digest: "b", Kind: progress.Layer})
		r.Progress().Transferred("b", 3)
		for i := range 3000 {
			r.Line(jobs.Engine, fmt.Sprint(i))
		}
		return "result", nil
	}})
	if _, err := first.Result(t.Context()); err != nil {
		t.Error(err)
	}
	first.Close()
	late, err := m.Attach(first.Job(), alice)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	var lines []jobs.Line
	blobs := 0
	for u, err := range late.Updates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, u.Lines...)
		blobs += len(u.Progress.Blobs)
	}
	if len(lines) != 1000 || lines[0].Text != "2000" || blobs != 2 {
		t.Errorf("late watcher got %d lines from %v on and %d blobs", len(lines), lines[:1], blobs)
	}
	if value, err := late.Result(t.Context()); value != "result" || err != nil {
		t.Errorf("late watcher's result: %v, %v", value, err)
	}
}

func TestSlowWatcherIsDroppedAndTheJobGoesOn(t *testing.T) {
	t.Parallel()
	m := jobs.NewManager(jobs.Options{})
	slow := start(t, m, jobs.Spec{UID: alice, Run: func(_ context.Context, r *jobs.Reporter) (any, error) {
		for range 20_000 {
			r.Line(jobs.Stderr, "x")
		}
		return "ok", nil
	}})
	defer slow.Close()
	if value, err := slow.Result(t.Context()); value != "ok" || err != nil {
		t.Errorf("result: %v, %v", value, err)
	}
	var last error
	for _, err := range slow.Updates(t.Context()) {
		last = err
	}
	if got, ok := errors.AsType[*errdefs.LimitExceeded](last); !ok || got.Limit != jobs.LimitBacklog {
		t.Errorf("slow watcher got %v", last)
	}
}

func TestLongLineIsCutBetweenRunes(t *testing.T) {
	t.Parallel()
	m := jobs.NewManager(jobs.Options{})
	text := strings.Repeat("ä€😀x", 10_000)
	w := start(t, m, jobs.Spec{UID: alice, Run: func(_ context.Context, r *jobs.Reporter) (any, error) {
		r.Line(jobs.Stdout, text)
		return nil, nil
	}})
	defer w.Close()
	var joined strings.Builder
	for u, err := range w.Updates(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range u.Lines {
			if len(l.Text) > 16<<10 || strings.ToValidUTF8(l.Text, "") != l.Text {
				t.Errorf("piece of %d bytes is too long or cut within a rune", len(l.Text))
			}
			joined.WriteString(l.Text)
		}
	}
	if joined.String() != text {
		t.Error("the pieces are not the line")
	}
}

func TestProgressIsConflated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := jobs.NewManager(jobs.Options{})
		w := start(t, m, jobs.Spec{UID: alice, Run: func(_ context.Context, r *jobs.Reporter) (any, error) {
			for range 1000 {
				r.Progress().Transferred("a", 10)
				time.Sleep(time.Millisecond)
			}
			time.Sleep(5 * time.Second) // nothing happens: the rate must fall all the same
			r.Progress().Transferred("b", 1)
			return nil, nil
		}})
		defer w.Close()
		var last progress.Snapshot
		moving, fell := 0, false
		for u, err := range w.Updates(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if u.Progress.Done > last.Done {
				moving++
			}
			fell = fell || (last.BytesPerSecond > 0 && u.Progress.BytesPerSecond == 0)
			last = *u.Progress
		}
		if last.Done != 10_001 || len(last.Blobs) != 1 || last.Blobs[0].Digest != "b" {
			t.Errorf("last progress is %+v", last)
		}
		if moving < 9 || moving > 13 || !fell {
			t.Errorf("%d updates in a second, rate fell: %t", moving, fell)
		}
	})
}

// TestTenUpdatesASecond has a job end just after an update.
func TestTenUpdatesASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := jobs.NewManager(jobs.Options{})
		w := start(t, m, jobs.Spec{UID: alice, Run: func(_ context.Context, r *jobs.Reporter) (any, error) {
			for range 950 {
				r.Progress().Transferred("a", 10)
				time.Sleep(time.Millisecond)
			}
			return nil, nil
		}})
		defer w.Close()
		updates := 0
		for _, err := range w.Updates(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			updates++
		}
		if updates < 8 || updates > 10 {
			t.Errorf("%d updates in a second", updates)
		}
	})
}

func TestUpdatesEndWithContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := jobs.NewManager(jobs.Options{})
		w := start(t, m, jobs.Spec{UID: alice, Run: untilCancelled})
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		var last error
		for _, err := range w.Updates(ctx) {
			last = err
		}
		if !errors.Is(last, gone) {
			t.Errorf("updates ended with %v", last)
		}
		if _, err := w.Result(ctx); !errors.Is(err, gone) {
			t.Errorf("result ended with %v", err)
		}
		w.Close()
	})
}

func TestPanicFailsTheJobAlone(t *testing.T) {
	t.Parallel()
	var told any
	m := jobs.NewManager(jobs.Options{Panicked: func(_ string, value any, _ []byte) { told = value }})
	w := start(t, m, jobs.Spec{UID: alice, Run: func(context.Context, *jobs.Reporter) (any, error) { panic("secret detail") }})
	defer w.Close()
	_, err := w.Result(t.Context())
	if _, ok := errors.AsType[*errdefs.Failed](err); !ok || strings.Contains(err.Error(), "secret") || told != "secret detail" {
		t.Errorf("result: %v, told: %v", err, told)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := jobs.NewManager(jobs.Options{})
		release := make(chan struct{})
		w := start(t, m, jobs.Spec{UID: alice, Detach: true, Run: func(context.Context, *jobs.Reporter) (any, error) {
			<-release
			return nil, nil
		}})
		defer w.Close()
		synctest.Wait() // for the work to begin
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shutdown with stubborn work: %v", err)
		}
		if _, err := w.Result(t.Context()); !isCancelled(err) {
			t.Errorf("result: %v", err)
		}
		close(release)
		if err := m.Shutdown(t.Context()); err != nil {
			t.Errorf("second shutdown: %v", err)
		}
	})
}

func TestKey(t *testing.T) {
	t.Parallel()
	m := jobs.NewManager(jobs.Options{})
	key := m.Key("a", "bc")
	if again := m.Key("a", "bc"); again != key || m.Key("ab", "c") == key {
		t.Error("keys do not tell parts apart, or equal ones are not equal")
	}
	if jobs.NewManager(jobs.Options{}).Key("secret") == m.Key("secret") {
		t.Error("keys of two managers are equal")
	}
}
