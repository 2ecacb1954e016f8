package engine_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/tests/registrytest"
)

func TestPullTellsOnce(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	reg := registrytest.New(t, registrytest.Options{})
	reg.PushImage(t, "team/app:1", registrytest.SampleImage())
	watch, err := p.Watch(t.Context(), engine.WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	name := reg.Ref("team/app:1")
	ids := p.mustPull(t, name, quick()).IDs
	if _, err := p.pull(t, reg.Ref("team/none:1"), quick()); err == nil {
		t.Fatal("an image was pulled that is not there")
	}
	want := []string{"pulled " + ids[0] + " " + name + " ", "pull_failed  " + reg.Ref("team/none:1") + " ReferenceNotFound"}
	var got []string
	for event, err := range watch.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		failure := ""
		if event.Kind == events.PullFailed {
			failure = errdefs.Name(event.Err)
		}
		if got = append(got, fmt.Sprint(event.Kind, " ", event.ID, " ", event.Name, " ", failure)); len(got) == len(want) {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
