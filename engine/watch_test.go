package engine

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/engine/enginetest"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
)

// watcher reads a watch's events.
type watcher struct {
	t      *testing.T
	events chan string
}

// startWatch begins to watch; it ends with the test.
func startWatch(t *testing.T, e *Engine, filters ...string) *watcher {
	t.Helper()
	watch, err := e.Watch(t.Context(), WatchOptions{Filters: filters})
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{t, make(chan string, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event, err := range watch.Events(ctx) {
			if err != nil {
				if errdefs.Name(err) != "Cancelled" {
					t.Errorf("the watch ended with %v", err)
				}
				return
			}
			w.events <- fmt.Sprint(event.Kind, " ", event.ID[:min(4, len(event.ID))], " ", event.Name)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		watch.Close()
		if got := w.rest(); len(got) > 0 {
			t.Errorf("more came: %q", got)
		}
	})
	return w
}

// rest returns what has come.
func (w *watcher) rest() (got []string) {
	for {
		select {
		case event := <-w.events:
			got = append(got, event)
		default:
			return got
		}
	}
}

// want waits for as many events as are wanted.
func (w *watcher) want(want ...string) {
	w.t.Helper()
	var got []string
	timeout := time.After(time.Minute)
	for len(got) < len(want) {
		select {
		case event := <-w.events:
			got = append(got, event)
		case <-timeout:
			w.t.Fatalf("only %q came, want %q", got, want)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Error(diff)
	}
}

func TestWatchOwnChanges(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	parent := enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"1"}})
	id := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest", "localhost/b:latest"}, Layers: []string{"1"}, Empty: 1})
	w := startWatch(t, e)
	short := id[:4]
	if err := e.Tag(t.Context(), "a", []string{"c", "b"}); err != nil {
		t.Fatal(err)
	}
	w.want("tagged " + short + " localhost/c:latest")
	if err := e.Untag(t.Context(), "a", []string{"b"}); err != nil {
		t.Fatal(err)
	}
	w.want("untagged " + short + " localhost/b:latest")
	for _, name := range []string{"c", "a"} {
		if _, err := e.Remove(t.Context(), []string{name}, RemoveOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.want("untagged "+short+" localhost/c:latest", "untagged "+short+" localhost/a:latest", "removed "+short+" ", "removed "+parent[:4]+" ")
	other := enginetest.AddImage(t, store, enginetest.Image{Layers: []string{"other"}}) // as another program does
	w.want("pulled " + other[:4] + " ")
	if _, err := e.Prune(t.Context(), PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	w.want("removed " + other[:4] + " ")
}

func TestWatchFilters(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	a := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"a"}})
	b := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/b:latest"}, Layers: []string{"b"}})
	all := []string{
		"tagged " + a[:4] + " localhost/x:1", "untagged " + a[:4] + " localhost/x:1", "tagged " + b[:4] + " localhost/x:1",
		"untagged " + b[:4] + " localhost/b:latest", "untagged " + b[:4] + " localhost/x:1", "removed " + b[:4] + " ",
	}
	pick := func(indices ...int) (want []string) {
		for _, i := range indices {
			want = append(want, all[i])
		}
		return want
	}
	tests := map[*watcher][]string{
		startWatch(t, e):                                    all,
		startWatch(t, e, "event=removed"):                   pick(5),
		startWatch(t, e, "event=tagged", "event=untagged"):  pick(0, 1, 2, 3, 4),
		startWatch(t, e, "event!=tagged", "event!=removed"): pick(1, 3, 4),
		startWatch(t, e, "image=a"):                         pick(0, 1),
		startWatch(t, e, "image="+b[:12]):                   pick(2, 3, 4, 5),
		startWatch(t, e, "image="+b, "event=removed"):       pick(5),
		startWatch(t, e, "image!=b", "image!="+a):           nil,
		startWatch(t, e, "image=x:1", "event!=untagged"):    pick(0, 2, 5),
		startWatch(t, e, "image=localhost/x:1"):             pick(0, 1, 2, 3, 4, 5),
		startWatch(t, e, "image=still/unknown"):             nil,
	}
	// The name is taken away first: if it moved, what the store shows would be told when it is looked at.
	for _, err := range []error{
		e.Tag(t.Context(), a, []string{"x:1"}), e.Untag(t.Context(), a, []string{"x:1"}), e.Tag(t.Context(), b, []string{"x:1"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Remove(t.Context(), []string{b}, RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	for w, want := range tests {
		w.want(want...)
	}
}

func TestWatchParameters(t *testing.T) {
	t.Parallel()
	e, _ := open(t)
	for _, bad := range []string{"", "event", "event=born", "image=", "image=A B", "since=a", "=x"} {
		_, err := e.Watch(t.Context(), WatchOptions{Filters: []string{bad}})
		if p, ok := errors.AsType[*errdefs.InvalidParameter](err); !ok || p.Parameter != "filters" {
			t.Errorf("Watch(%q) = %v", bad, err)
		}
	}
	_, err := e.Watch(t.Context(), WatchOptions{Filters: make([]string, e.imageLimits.Filters+1)})
	wantError(t, "too many filters", err, "LimitExceeded")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.Watch(ctx, WatchOptions{})
	wantError(t, "after the end", err, "Cancelled")
}

func TestSlowWatcherHoldsUpNobody(t *testing.T) {
	t.Parallel()
	e, store := open(t)
	id := enginetest.AddImage(t, store, enginetest.Image{Names: []string{"localhost/a:latest"}})
	slow, err := e.Watch(t.Context(), WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	for range e.imageLimits.WatchQueue + 1 {
		e.events.Publish(events.Event{Kind: events.Pushed, ID: id})
	}
	w := startWatch(t, e, "event=removed") // now: it might fall behind in this flood, too
	if _, err := e.Remove(t.Context(), []string{"a"}, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	w.want("removed " + id[:4] + " ")
	n := 0
	for _, err = range slow.Events(t.Context()) {
		n++
	}
	if limit, ok := errors.AsType[*errdefs.LimitExceeded](err); !ok || limit.Limit != events.LimitQueue || n != e.imageLimits.WatchQueue+1 {
		t.Errorf("%d events, then %v", n, err)
	}
}

// podman runs podman, another program, on the store of a test.
func podman(t *testing.T, d enginetest.Dirs, args ...string) {
	t.Helper()
	args = append([]string{"--root", d.Root, "--runroot", d.RunRoot, "--storage-driver", enginetest.Driver, "--events-backend", "none"}, args...)
	if out, err := exec.CommandContext(t.Context(), "podman", args...).CombinedOutput(); err != nil {
		t.Fatalf("podman %v: %v\n%s", args, err, out)
	}
}

func TestWatchPodman(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("there is no podman")
	}
	d := enginetest.NewDirs(t)
	e := openDirs(t, d, nil)
	id := enginetest.AddImage(t, e.store, enginetest.Image{Names: []string{"localhost/a:latest"}, Layers: []string{"x"}})
	archive := t.TempDir() + "/archive"
	podman(t, d, "save", "-q", "-o", archive, "localhost/a:latest")
	w := startWatch(t, e)
	podman(t, d, "tag", "a", "b")
	w.want("tagged " + id[:4] + " localhost/b:latest")
	podman(t, d, "untag", "a", "b")
	w.want("untagged " + id[:4] + " localhost/b:latest")
	podman(t, d, "rmi", "a")
	w.want("untagged "+id[:4]+" localhost/a:latest", "removed "+id[:4]+" ")
	podman(t, d, "load", "-q", "-i", archive)
	w.want("pulled " + id[:4] + " localhost/a:latest")
	if got := ids(t, e, ListOptions{}); !slices.Equal(got, []string{id}) {
		t.Errorf("the store has %v", got)
	}
}
