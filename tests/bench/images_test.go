package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/tests/interop"
	"github.com/imaged-project/imaged/tests/registrytest"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

const (
	imageRounds = 3
	sharers     = 8 // clients that pull the same
)

// mover moves the big image in and out of one store, with imaged, podman and skopeo.
type mover struct {
	dirs
	daemon *process
	client *varlink.Client
	debian *interop.Root // nil: no peers
	name   string
}

// benchImages moves an image of 500 MB. Everything written is on the disk before the next one's turn, so that nobody
// waits for what another has left.
func benchImages(t *testing.T) {
	m := &mover{dirs: newDirs(t)}
	m.name = bigImage(t).name
	m.daemon, m.debian = startDaemon(t, m.dirs), debian(t, m.dirs)
	m.client = m.daemon.ping(t)
	t.Run("pull", m.benchPull)
	t.Run("save", func(t *testing.T) {
		m.benchSave(t, transfers.ArchiveFormatDockerArchive, "docker-archive")
		m.benchSave(t, transfers.ArchiveFormatOciArchive, "oci-archive")
	})
	t.Run("load", m.benchLoad)
	t.Run("push", m.benchPush)
	t.Run("share", m.benchShare)
}

// compare prints a row for each peer: its command in the Debian beside ours. prepare comes before each turn.
func (m *mover) compare(t *testing.T, what string, goals map[string]goal, prepare func(*testing.T), ours func() error, its func(peer string) []string) {
	t.Helper()
	measure := func(work func() error) func(*testing.T) []float64 {
		return func(t *testing.T) []float64 {
			prepare(t)
			unix.Sync()
			return []float64{timed(func() {
				if err := work(); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			})}
		}
	}
	contenders := []contender{{"imaged", measure(ours)}}
	peers := []string{"podman", "skopeo"}
	for _, name := range peers {
		if m.debian != nil {
			contenders = append(contenders, contender{name, measure(func() error {
				_, err := m.debian.Try(t, name, its(name)...)
				return err
			})})
		}
	}
	medians := alternate(t, imageRounds, contenders)
	for i, name := range peers {
		medians = append(medians, []float64{0}) // of one that is missing
		row{what, seconds, medians[0][0], name, medians[i+1][0], goals[name]}.print()
	}
}

// storeRef is the image in the store for skopeo.
func (m *mover) storeRef() string {
	return fmt.Sprintf("containers-storage:[overlay@%s+%s]%s", m.root, m.runRoot, m.name)
}

// podman makes a command for the store.
func (m *mover) podman(args ...string) []string { return append(m.storeArgs(), args...) }

// absent removes the image, present pulls it, unless that is so.
func (m *mover) absent(t *testing.T) { m.want(t, false) }

func (m *mover) present(t *testing.T) { m.want(t, true) }

func (m *mover) want(t *testing.T, want bool) {
	t.Helper()
	found, err := images.NewClient(m.client).Exists(t.Context(), images.ExistsIn{Name: m.name})
	switch {
	case err != nil:
		t.Fatal(err)
	case found.Exists && !want:
		remove(t, m.client, m.name)
	case !found.Exists && want:
		if err := pullStream(t.Context(), m.client, m.name); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *mover) benchPull(t *testing.T) {
	m.compare(t, "pull of 500 MB", map[string]goal{"podman": {ratio: 1.25}, "skopeo": {ratio: 1.25}}, m.absent,
		func() error { return pullStream(t.Context(), m.client, m.name) },
		func(peer string) []string {
			if peer == "podman" {
				return m.podman("pull", "--quiet", "--tls-verify=false", m.name)
			}
			return []string{"copy", "--quiet", "--src-tls-verify=false", "docker://" + m.name, m.storeRef()}
		})
}

func (m *mover) benchSave(t *testing.T, format transfers.ArchiveFormat, its string) {
	m.present(t)
	path := filepath.Join(m.dir, "archive")
	m.compare(t, "save of it as "+its, map[string]goal{"podman": {ratio: 2}}, func(*testing.T) { _ = os.Remove(path) },
		func() error { return m.save(t.Context(), path, format) },
		func(peer string) []string {
			if peer == "podman" {
				return m.podman("save", "--quiet", "--format", its, "--output", path, m.name)
			}
			return []string{"copy", "--quiet", m.storeRef(), its + ":" + path + ":" + m.name}
		})
}

// save saves the image into a new file, which it passes as a descriptor.
func (m *mover) save(ctx context.Context, path string, format transfers.ArchiveFormat) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	in := transfers.SaveIn{Names: []string{m.name}, Format: format, FileDescriptor: new(m.client.PushFile(f))}
	_, err = transfers.NewClient(m.client).Save(ctx, in)
	return err
}

// load loads an archive, which it passes as a descriptor.
func (m *mover) load(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = transfers.NewClient(m.client).Load(ctx, transfers.LoadIn{FileDescriptor: new(m.client.PushFile(f))})
	return err
}

// push pushes the image to a registry.
func (m *mover) push(ctx context.Context, destination string) error {
	in := transfers.PushIn{Name: m.name, Destination: &destination, TLSVerify: new(false)}
	_, err := transfers.NewClient(m.client).Push(ctx, in)
	return err
}

func (m *mover) benchLoad(t *testing.T) {
	path := filepath.Join(m.dir, "archive")
	for _, format := range []transfers.ArchiveFormat{transfers.ArchiveFormatDockerArchive, transfers.ArchiveFormatOciArchive} {
		its := strings.ReplaceAll(string(format), "_", "-")
		m.present(t)
		if err := m.save(t.Context(), path, format); err != nil {
			t.Fatal(err)
		}
		m.compare(t, "load of its "+its, map[string]goal{"podman": {ratio: 1}}, m.absent,
			func() error { return m.load(t.Context(), path) },
			func(peer string) []string {
				if peer == "podman" {
					return m.podman("load", "--quiet", "--input", path)
				}
				return []string{"copy", "--quiet", its + ":" + path, m.storeRef()}
			})
	}
}

// benchPush pushes to a registry that is new each time, else it would have the layers already.
func (m *mover) benchPush(t *testing.T) {
	m.present(t)
	var r *registrytest.Registry
	anew := func(t *testing.T) {
		if r != nil {
			r.Close()
		}
		var err error
		if r, err = registrytest.Start(registrytest.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { r.Close() }()
	m.compare(t, "push of it", nil, anew,
		func() error { return m.push(t.Context(), r.Ref("big:latest")) },
		func(peer string) []string {
			if peer == "podman" {
				return m.podman("push", "--quiet", "--tls-verify=false", m.name, r.Ref("big:latest"))
			}
			return []string{"copy", "--quiet", "--dest-tls-verify=false", m.storeRef(), "docker://" + r.Ref("big:latest")}
		})
}

// benchShare counts what the registry sends when several clients pull at once.
func (m *mover) benchShare(t *testing.T) {
	r, err := registrytest.Start(registrytest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.PushImage(t, "shared:latest", registrytest.SampleImage())
	shared := r.Ref("shared:latest")
	sent := func(clients int, pull func() error) float64 {
		r.ForgetRequests()
		var all errgroup.Group
		for range clients {
			all.Go(pull)
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		remove(t, m.client, shared)
		return float64(r.BytesSent())
	}
	ours := func() error {
		c, err := varlink.Dial(t.Context(), "unix:"+m.daemon.socket)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		return pullStream(t.Context(), c, shared)
	}
	one := sent(1, ours)
	many, its := sent(sharers, ours)/one, 0.0
	if m.debian != nil {
		rest := startPodman(t, m.dirs, m.debian).rest(t)
		its = sent(sharers, func() error { return pullREST(t.Context(), rest, shared) }) / one
	}
	row{fmt.Sprintf("downloads when %d clients pull at once", sharers), downloads, many, "podman REST", its, goal{most: 1.01}}.print()
}
