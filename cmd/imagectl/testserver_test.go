package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/info"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// testServer is a Varlink server on a socket that answers with fixed images, errors and streams. It is for what the
// command line makes of replies; what the real daemon replies is tested in tests/story.
type testServer struct {
	address            string
	pulling, cancelled chan struct{} // closed by the first pull of slow, and by the leaving of its client
	once               sync.Once
	stop               func()
}

func startServer(path string) (*testServer, error) {
	t := &testServer{address: "unix:" + path, pulling: make(chan struct{}), cancelled: make(chan struct{})}
	server := &varlink.Server{}
	for _, i := range []varlink.Interface{
		images.New(testImages{}), transfers.New(testTransfers{testServer: t}), jobs.New(testJobs{}), info.New(testInfo{}),
	} {
		if err := server.Register(i); err != nil {
			return nil, err
		}
	}
	listener, err := varlink.Listen(t.address, 0o600)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.stop = func() {
		closeErr := server.Close()
		if err := errors.Join(closeErr, <-done); !errors.Is(err, varlink.ErrServerClosed) {
			panic(fmt.Sprintf("test server: %v", err))
		}
	}
	return t, nil
}

const (
	idAlpine = "1111111111111111111111111111111111111111111111111111111111111111"
	idNone   = "2222222222222222222222222222222222222222222222222222222222222222"
	idEvil   = "3333333333333333333333333333333333333333333333333333333333333333"
)

// records are the images of the test server, newest first.
func records() []images.Image {
	record := func(id string, size int64, names ...string) images.Image {
		return images.Image{
			ID: id, Digest: "sha256:" + id, Digests: []string{"sha256:" + id}, Names: append([]string{}, names...),
			NamesHistory: []string{}, Created: "2020-01-02T03:04:05Z", Size: size, VirtualSize: size,
			Labels:   map[string]string{"team": "web"},
			Platform: &images.Platform{OS: new("linux"), Architecture: new("arm64"), Variant: new("v8")},
		}
	}
	list := []images.Image{
		record(idAlpine, 8_000_000, "docker.io/library/alpine:3.20", "localhost:5000/alpine:latest", "docker.io/library/alpine@sha256:"+idAlpine),
		record(idNone, 2_500_000_000),
		record(idEvil, 512, "localhost/evil:latest"),
	}
	list[1].Dangling = true
	list[2].Labels = map[string]string{"title": "\x1b]0;owned\x07\u202egnp"}
	return list
}

type testImages struct{ images.Unimplemented }

func (testImages) List(_ context.Context, in images.ListIn, send func(images.ListOut) error) (images.ListOut, error) {
	for _, filter := range in.Filters {
		if strings.HasPrefix(filter, "colour") {
			return images.ListOut{}, &varlink.InvalidParameterError{Parameter: "filters"}
		}
	}
	list := records()
	if err := send(images.ListOut{Images: list[:1]}); err != nil {
		return images.ListOut{}, err
	}
	return images.ListOut{Images: list[1:]}, nil
}

// find gives a record, or the error that a name stands for.
func find(name string) (images.Image, error) {
	for _, record := range records() {
		for _, known := range append(record.Names, record.ID) {
			if name == known {
				return record, nil
			}
		}
	}
	switch name {
	case "ambiguous":
		return images.Image{}, &images.AmbiguousNameError{Name: name, Candidates: []string{idAlpine, idNone}, Message: "image \"ambiguous\": it means two"}
	case "UPPER":
		return images.Image{}, &images.InvalidReferenceError{Reference: name, Reason: "upper case", Message: "reference \"UPPER\": upper case; write it in lower case"}
	case "evil":
		return images.Image{}, &images.FailedError{Reason: "x", Message: "it said\nimagectl: all is well\x1b[2K\u202e"}
	}
	return images.Image{}, &images.ImageNotFoundError{Name: name, Message: fmt.Sprintf("image %q: none has this name; pull it", name)}
}

func (testImages) Get(_ context.Context, in images.GetIn) (images.GetOut, error) {
	record, err := find(in.Name)
	return images.GetOut{Image: record}, err
}

func (testImages) Exists(_ context.Context, in images.ExistsIn) (images.ExistsOut, error) {
	_, err := find(in.Name)
	if _, missing := errors.AsType[*images.ImageNotFoundError](err); missing {
		return images.ExistsOut{}, nil
	}
	return images.ExistsOut{Exists: true}, err
}

func (testImages) Inspect(_ context.Context, in images.InspectIn) (images.InspectOut, error) {
	r, err := find(in.Name)
	if err != nil {
		return images.InspectOut{}, err
	}
	if in.Platform != nil && *in.Platform.Architecture != "arm64" {
		return images.InspectOut{}, &images.ImageNotFoundError{Name: in.Name, Message: "no image for " + *in.Platform.Architecture}
	}
	return images.InspectOut{
		Image: images.Inspection{
			ID: r.ID, Digest: r.Digest, Digests: r.Digests, Names: r.Names, NamesHistory: r.NamesHistory, Created: r.Created,
			Size: r.Size, VirtualSize: r.VirtualSize, Labels: r.Labels, Platform: r.Platform, OS: new("linux"), Architecture: new("arm64"),
			Config: images.ImageConfig{
				ExposedPorts: []string{}, Env: []string{"PATH=/bin", "A=<&>"}, Entrypoint: []string{}, Cmd: []string{"/bin/sh"},
				Volumes: []string{}, Labels: r.Labels, OnBuild: []string{},
			},
			Layers: []string{"sha256:" + idNone}, Annotations: map[string]string{}, History: []images.HistoryEntry{},
			Driver: "overlay", ManifestType: "application/vnd.oci.image.manifest.v1+json",
		},
		Raw: jsontext.Value(`{"architecture":"arm64","future":1}`),
	}, nil
}

func (testImages) Resolve(context.Context, images.ResolveIn) (images.ResolveOut, error) {
	return images.ResolveOut{References: []string{"docker.io/library/a:latest", "quay.io/a:latest"}, Reason: "search registries of /etc/x"}, nil
}

func (testImages) History(context.Context, images.HistoryIn) (images.HistoryOut, error) {
	return images.HistoryOut{Layers: []images.HistoryEntry{
		{ID: new(idAlpine), Created: "2020-01-02T03:04:05Z", CreatedBy: "CMD [\"/bin/sh\"]", Tags: []string{}, Empty: true},
		{Created: "2020-01-02T03:04:05Z", CreatedBy: "RUN " + strings.Repeat("long ", 20), Size: 5_000_000, Comment: "c", Tags: []string{}},
	}}, nil
}

func (testImages) Tag(_ context.Context, in images.TagIn) (images.TagOut, error) {
	_, err := find(in.Name)
	return images.TagOut{}, err
}

func (testImages) Remove(_ context.Context, in images.RemoveIn) (images.RemoveOut, error) {
	inUse := &images.ImageInUseError{Name: "used", Containers: []string{"c1"}, Message: "image \"used\": a container uses it; remove that first"}
	var out images.RemoveOut
	for _, name := range in.Names {
		result := images.Removal{Name: name, Untagged: []string{}, Deleted: []string{}}
		_, err := find(name)
		switch {
		case name == "used":
			result.Error, result.Reason = new(inUse.VarlinkError()), &inUse.Message
		case err != nil:
			result.Error, result.Reason = new("io.imaged.images.ImageNotFound"), new(err.Error())
		default:
			result.Untagged, result.Deleted = []string{name}, []string{idAlpine}
		}
		if len(in.Names) == 1 && result.Error != nil {
			return out, map[bool]error{true: inUse, false: err}[name == "used"]
		}
		out.Results = append(out.Results, result)
	}
	return out, nil
}

type testTransfers struct {
	transfers.Unimplemented
	*testServer
}

func (t testTransfers) Pull(ctx context.Context, in transfers.PullIn, send func(transfers.PullOut) error) (transfers.PullOut, error) {
	if err := send(transfers.PullOut{Job: new("job1")}); err != nil {
		return transfers.PullOut{}, err
	}
	switch in.Reference {
	case "private":
		return transfers.PullOut{}, pullLogin(in.Credentials)
	case "gone":
		return transfers.PullOut{}, &transfers.ReferenceNotFoundError{Reference: "gone", Registry: "r", Attempts: []transfers.Attempt{}, Message: "image gone: registry r does not have it; check the name"}
	case "slow":
		t.once.Do(func() { close(t.pulling) })
		<-ctx.Done()
		close(t.cancelled)
		return transfers.PullOut{}, ctx.Err()
	}
	progress := &transfers.Progress{
		Phase: transfers.PhaseTransferring, Done: 6_000_000, Total: new(int64(12_000_000)), Cached: 3_000_000,
		BytesPerSecond: 2_000_000, LayersDone: 1, LayersTotal: new(int64(3)),
		Blobs: []transfers.Blob{{Digest: "sha256:" + idAlpine, Kind: transfers.BlobKindLayer, State: transfers.BlobStateTransferring, Offset: 6_000_000, Size: new(int64(12_000_000))}},
	}
	if err := send(transfers.PullOut{Progress: progress}); err != nil {
		return transfers.PullOut{}, err
	}
	line := transfers.Line{Source: transfers.LineSourceEngine, Text: "mirror said \x1b[31mno"}
	return transfers.PullOut{Lines: []transfers.Line{line}, IDs: []string{idAlpine}, Names: []string{in.Reference}}, nil
}

func pullLogin(c *transfers.Credentials) error {
	e := &transfers.AuthenticationRequiredError{Registry: "r", Reason: "unauthorized", Message: "registry r: it wants credentials; give them"}
	if c == nil {
		return e
	}
	e.Given, e.Message = true, fmt.Sprintf("registry r: it refused %s, whose password has %d letters", *c.Username, len(*c.Password))
	return e
}

type testJobs struct{ jobs.Unimplemented }

func (testJobs) List(_ context.Context, _ jobs.ListIn, send func(jobs.ListOut) error) (jobs.ListOut, error) {
	running := jobs.Job{
		ID: "job1", Method: "io.imaged.transfers.Pull", Subject: "docker.io/library/alpine:latest", Started: "2020-01-02T03:04:05Z",
		State: jobs.StateRunning, Watchers: 2,
		Progress: &jobs.Progress{Phase: jobs.PhaseTransferring, Done: 6_000_000, Total: new(int64(12_000_000)), Blobs: []jobs.Blob{}},
	}
	failed := running
	failed.ID, failed.State, failed.Watchers, failed.Progress = "job0", jobs.StateFailed, 0, nil
	failed.Error, failed.Reason = new("io.imaged.transfers.RegistryUnreachable"), new("no route")
	if err := send(jobs.ListOut{Jobs: []jobs.Job{failed}}); err != nil {
		return jobs.ListOut{}, err
	}
	return jobs.ListOut{Jobs: []jobs.Job{running}}, nil
}

func (testJobs) Attach(_ context.Context, in jobs.AttachIn, send func(jobs.AttachOut) error) (jobs.AttachOut, error) {
	if in.Job != "job1" {
		return jobs.AttachOut{}, &jobs.JobNotFoundError{Job: in.Job, Message: "job " + in.Job + ": there is none; imagectl jobs lists them"}
	}
	if err := send(jobs.AttachOut{Job: &in.Job, Lines: []jobs.Line{{Source: jobs.LineSourceStdout, Text: "said before"}}}); err != nil {
		return jobs.AttachOut{}, err
	}
	return jobs.AttachOut{Result: jsontext.Value(`{"ids":["` + idAlpine + `"]}`), IDs: []string{idAlpine}}, nil
}

func (testJobs) Cancel(_ context.Context, in jobs.CancelIn) (jobs.CancelOut, error) {
	if in.Job != "job1" {
		return jobs.CancelOut{}, &jobs.JobNotFoundError{Job: in.Job, Message: "job " + in.Job + ": there is none; imagectl jobs lists them"}
	}
	return jobs.CancelOut{}, nil
}

type testInfo struct{}

func (testInfo) GetVersion(context.Context, info.GetVersionIn) (info.GetVersionOut, error) {
	return info.GetVersionOut{Version: "1.2.3", Commit: "abc", Go: "go1.26", API: []string{"io.imaged.images", "io.imaged.info"}}, nil
}

func (testInfo) GetStore(context.Context, info.GetStoreIn) (info.GetStoreOut, error) {
	return info.GetStoreOut{
		Driver: "overlay", GraphRoot: "/g", RunRoot: "/r", TmpDir: "/t", Images: 3, Layers: 4, Used: 5_000_000, Free: 7_000_000_000,
		Registries: []string{"docker.io"}, Isolation: "oci",
		Sources: []info.Source{{Name: "policy", Path: new("/etc/containers/policy.json")}, {Name: "registries"}},
	}, nil
}

func (testInfo) GetLimits(context.Context, info.GetLimitsIn) (info.GetLimitsOut, error) {
	return info.GetLimitsOut{Limits: []info.Limit{
		{Name: "messageSize", Value: 16 << 20, Unit: "bytes", Description: "of a message"},
		{Name: "connections", Value: 4096, Unit: "connections", Description: "at once"},
	}}, nil
}
