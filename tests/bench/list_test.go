package bench

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/imaged-project/imaged/tests/registrytest"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

const (
	listRounds = 7
	readPace   = 5 * time.Millisecond // between reads while something else is done
)

// benchList lists 1,000 images: at rest, and while others work on the same store.
func benchList(t *testing.T) {
	d := newDirs(t)
	fillStore(t, d)
	daemon := startDaemon(t, d)
	client := daemon.ping(t)
	contenders := []contender{{"imaged", func(t *testing.T) []float64 {
		first, all := list(t, client)
		return []float64{first, all}
	}}}
	var podman *http.Client
	if root := debian(t, d); root != nil {
		podman = startPodman(t, d, root).rest(t)
		contenders = append(contenders, contender{"podman", func(t *testing.T) []float64 { return []float64{listREST(t, podman)} }})
	}
	for _, c := range contenders {
		c.run(t) // what is measured is warm
	}
	medians := append(alternate(t, listRounds, contenders), []float64{0})
	row{"List of 1,000 images, 4,000 layers", seconds, medians[0][1], "podman REST", medians[1][0], goal{ratio: 50}}.print()
	row{"- its first batch", seconds, medians[0][0], "podman REST", medians[1][0], goal{most: 0.002}}.print()

	benchReads(t, d, daemon, client)
	if podman != nil {
		its := during(t, func() error { return pullREST(t.Context(), podman, bigImage(t).name) }, func() float64 { return listREST(t, podman) })
		row{"- podman's, while it pulls", seconds, its[0], "", 0, goal{}}.print()
	}
}

// benchReads reads while the big image is moved: the calls of programs that show images must not wait for it.
func benchReads(t *testing.T, d dirs, daemon *process, reader *varlink.Client) {
	mover := &mover{dirs: d, daemon: daemon, client: daemon.dial(t), name: bigImage(t).name}
	archive := filepath.Join(d.dir, "archive")
	r, err := registrytest.Start(registrytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, work := range []struct {
		what string
		do   func() error
	}{
		{"pulled", func() error { return pullStream(t.Context(), mover.client, mover.name) }},
		{"saved", func() error { return mover.save(t.Context(), archive, transfers.ArchiveFormatDockerArchive) }},
		{"pushed", func() error { return mover.push(t.Context(), r.Ref("big:latest")) }},
		{"loaded", func() error { return mover.load(t.Context(), archive) }},
	} {
		if work.what == "loaded" {
			mover.absent(t)
		}
		took := during(t, work.do, func() float64 { _, all := list(t, reader); return all }, func() float64 { return get(t, reader) })
		row{"- p99 while 500 MB are " + work.what, seconds, took[0], "", 0, goal{most: 0.02}}.print()
		row{"Get, p99 while 500 MB are " + work.what, seconds, took[1], "", 0, goal{most: 0.02}}.print()
	}
	remove(t, mover.client, mover.name)
}

// get asks for one image.
func get(t *testing.T, c *varlink.Client) float64 {
	t.Helper()
	return timed(func() {
		if _, err := images.NewClient(c).Get(t.Context(), images.GetIn{Name: "localhost/first:latest"}); err != nil {
			t.Fatal(err)
		}
	})
}

// list receives all images in batches, and returns when the first batch and when all were there.
func list(t *testing.T, c *varlink.Client) (first, all float64) {
	t.Helper()
	start, n := time.Now(), 0
	for out, err := range images.NewClient(c).ListStream(t.Context(), images.ListIn{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n += len(out.Images); first == 0 {
			first = time.Since(start).Seconds()
		}
	}
	all = time.Since(start).Seconds()
	if n < listImages {
		t.Fatalf("imaged lists %d images", n)
	}
	return first, all
}

// listREST does the same at podman's service, which has one reply.
func listREST(t *testing.T, c *http.Client) float64 {
	t.Helper()
	return timed(func() {
		var all []struct{ ID string }
		if err := json.Unmarshal(request(t, c, http.MethodGet, "images/json"), &all); err != nil || len(all) < listImages {
			t.Fatalf("podman lists %d images, %v", len(all), err)
		}
	})
}

// during reads again and again while something is done, and returns the 99th percentile of each read's times.
func during(t *testing.T, work func() error, reads ...func() float64) []float64 {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- work() }()
	took := make([][]float64, len(reads))
	for {
		for i, read := range reads {
			took[i] = append(took[i], read())
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			worst := make([]float64, len(reads))
			for i := range reads {
				worst[i] = quantile(took[i], 0.99)
			}
			return worst
		case <-time.After(readPace):
		}
	}
}

// pullStream pulls as a program with a progress bar does.
func pullStream(ctx context.Context, c *varlink.Client, name string) error {
	for _, err := range transfers.NewClient(c).PullStream(ctx, transfers.PullIn{Reference: name, TLSVerify: new(false)}) {
		if err != nil {
			return err
		}
	}
	return nil
}

func pullREST(ctx context.Context, c *http.Client, name string) error {
	_, err := tryRequest(ctx, c, http.MethodPost, "images/pull?tlsVerify=false&reference="+name)
	return err
}

// remove removes an image, so that it can come again.
func remove(t *testing.T, c *varlink.Client, name string) {
	t.Helper()
	if _, err := images.NewClient(c).Remove(t.Context(), images.RemoveIn{Names: []string{name}, Force: new(true)}); err != nil {
		t.Fatal(err)
	}
}
