package progress_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/imaged-project/imaged/engine/progress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func layer(digest string, size int64) progress.Blob {
	return progress.Blob{Digest: digest, Kind: progress.Layer, Size: &size}
}

func TestTotalsAddUp(t *testing.T) {
	t.Parallel()
	tr := progress.New()
	if s, _ := tr.Since(0); s.Total != nil || s.LayersTotal != nil {
		t.Errorf("totals are known before anything is planned: %+v", s)
	}
	tr.Add(progress.Blob{Digest: "c", Kind: progress.Config, Size: new(int64(10))}, layer("a", 100), layer("b", 200), layer("a", 100))
	tr.Planned()
	tr.SetPhase(progress.Transferring)
	tr.SetState("b", progress.BlobSkipped)
	tr.Start("a")
	tr.Transferred("a", 60)
	s, _ := tr.Since(0)
	s.BytesPerSecond = 0
	want := progress.Snapshot{
		Phase: progress.Transferring, Done: 60, Total: new(int64(110)), Cached: 200, LayersDone: 1, LayersTotal: new(2),
		Blobs: []progress.Blob{
			{Digest: "c", Kind: progress.Config, State: progress.BlobWaiting, Size: new(int64(10))},
			{Digest: "a", Kind: progress.Layer, State: progress.BlobTransferring, Offset: 60, Size: new(int64(100))},
			{Digest: "b", Kind: progress.Layer, State: progress.BlobSkipped, Size: new(int64(200))},
		},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

func TestPhaseBecomesUnpackingWhenAllHasArrived(t *testing.T) {
	t.Parallel()
	tr := progress.New()
	tr.Add(layer("a", 1), layer("b", 1))
	tr.Planned()
	tr.SetPhase(progress.Transferring)
	phase := func() progress.Phase {
		s, _ := tr.Since(0)
		return s.Phase
	}
	tr.SetState("a", progress.BlobUnpacking)
	if got := phase(); got != progress.Transferring {
		t.Errorf("phase with one layer still to come is %s", got)
	}
	tr.SetState("b", progress.BlobUnpacking)
	if got := phase(); got != progress.Unpacking {
		t.Errorf("phase with all layers here is %s", got)
	}
}

func TestDoneNeverGoesBack(t *testing.T) {
	t.Parallel()
	tr := progress.New()
	tr.Add(layer("a", 100))
	tr.Planned()
	tr.Start("a")
	tr.Transferred("a", 70)
	tr.SetState("a", progress.BlobFailed)
	tr.Start("a")
	tr.Transferred("a", 20)
	s, _ := tr.Since(0)
	if s.Done != 70 || s.Blobs[0].Offset != 20 {
		t.Errorf("after a retry done is %d and the blob's offset %d, want 70 and 20", s.Done, s.Blobs[0].Offset)
	}
	tr.SetState("a", progress.BlobSkipped)
	if s, _ := tr.Since(0); s.Done != 70 || s.Blobs[0].State != progress.BlobDone {
		t.Errorf("a blob that came half and was then found: %+v", s)
	}
}

func TestSinceGivesWhatChanged(t *testing.T) {
	t.Parallel()
	tr := progress.New()
	tr.Add(layer("a", 100), layer("b", 100))
	_, seen := tr.Since(0)
	tr.Transferred("b", 1)
	s, seen := tr.Since(seen)
	if len(s.Blobs) != 1 || s.Blobs[0].Digest != "b" {
		t.Errorf("changed blobs are %+v, want b alone", s.Blobs)
	}
	if s, _ := tr.Since(seen); len(s.Blobs) != 0 {
		t.Errorf("changed blobs without a change: %+v", s.Blobs)
	}
}

func TestChangedWakes(t *testing.T) {
	t.Parallel()
	tr := progress.New()
	before, changed := tr.Changed()
	tr.SetPhase(progress.Waiting)
	<-changed
	after, changed := tr.Changed()
	if after <= before {
		t.Errorf("revision went from %d to %d", before, after)
	}
	tr.Freeze()
	tr.SetPhase(progress.Committing)
	tr.Transferred("x", 5)
	select {
	case <-changed:
		t.Error("a frozen tracker changed")
	default:
	}
}

func TestRateDecays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := progress.New()
		for range 50 {
			tr.Transferred("a", 1000)
			time.Sleep(100 * time.Millisecond)
		}
		if s, _ := tr.Since(0); s.BytesPerSecond < 9000 || s.BytesPerSecond > 11000 {
			t.Errorf("rate is %d, want about 10000", s.BytesPerSecond)
		}
		time.Sleep(10 * time.Second)
		if s, _ := tr.Since(0); s.BytesPerSecond != 0 {
			t.Errorf("rate after 10 s of silence is %d", s.BytesPerSecond)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	tr := progress.New()
	var wg sync.WaitGroup
	for _, d := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			for range 1000 {
				tr.Transferred(d, 1)
				tr.Since(0)
			}
		})
	}
	wg.Wait()
	if s, _ := tr.Since(0); s.Done != 4000 {
		t.Errorf("done is %d, want 4000", s.Done)
	}
}
