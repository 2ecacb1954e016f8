package wire_test

import (
	"crypto/sha512"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// TestOddImages are rare and right, so they are pulled, or say what is not supported.
func TestOddImages(t *testing.T) {
	t.Parallel()
	emptyTar := make([]byte, 1024)
	layer := func(content []byte) manifest { return descriptor(ociLayer, digest(content), len(content)) }
	for name, c := range map[string]struct {
		change func(t testing.TB, p *parts)
		want   string
	}{
		"two equal layers": {func(t testing.TB, p *parts) {
			p.layers(t, []string{digest([]byte(rootfs(t))), digest([]byte(rootfs(t)))}, layer(p.layer), layer(p.layer))
		}, ""},
		"a layer without files": {func(t testing.TB, p *parts) {
			packed := compressed(t, emptyTar)
			p.registry.PushBlob(t, "bad", packed)
			p.layers(t, []string{digest(emptyTar)}, layer(packed))
		}, ""},
		"no layers": {func(t testing.TB, p *parts) { p.layers(t, []string{}) }, ""},
		"a layer by its SHA-512": {func(t testing.TB, p *parts) {
			m := layer(p.layer)
			m["digest"] = fmt.Sprintf("sha512:%x", sha512.Sum512(p.layer))
			p.manifest["layers"] = []manifest{m}
		}, "?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := registrytest.New(t, registrytest.Options{})
			p := goodParts(t, r)
			c.change(t, p)
			r.PushManifest(t, "bad:1", ociManifest, encode(t, p.manifest))
			d, reply := pullOf(t, r.Ref("bad:1"), daemon.Options{})
			if reply.Error != c.want && (c.want != "?" || strings.HasSuffix(reply.Error, ".Failed")) {
				t.Errorf("%s", reply.Raw)
			}
			if reply.Error != "" {
				checkError(t, contracts["io.imaged.transfers"], reply)
				wantEmpty(t, d)
			} else if r := d.Call(t, "io.imaged.images.Tree", fmt.Sprintf(`{"name":%q}`, r.Ref("bad:1"))); r.Error != "" {
				t.Errorf("%s", r.Raw)
			}
		})
	}
}

// layers puts layers into an image, with the digests of what they unpack to.
func (p *parts) layers(t testing.TB, diffIDs []string, all ...manifest) {
	t.Helper()
	p.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": diffIDs}
	p.configure(t, encode(t, p.config))
	p.manifest["layers"] = slices.Concat([]manifest{}, all)
}

// TestDripIsCancelledAtOnce has a registry that gives a layer byte by byte, which is too fast to have stalled.
func TestDripIsCancelledAtOnce(t *testing.T) {
	t.Parallel()
	r := registrytest.New(t, registrytest.Options{})
	r.PushImage(t, "slow:1", registrytest.ImageOptions{Layers: 1, LayerSize: 1 << 20})
	r.Misbehave(registrytest.Rule{Method: "GET", Path: "/blobs/", Skip: 1, Fault: registrytest.Fault{Rate: 10}})
	d := daemon.Start(t, daemon.Options{})
	c := d.Dial(t)
	job := startJob(t, c, pull(r.Ref("slow:1"), `"stallTimeoutSeconds":1`))
	time.Sleep(2 * time.Second) // longer than a stall may be
	if s := jobState(t, d.Dial(t), job); s.State != "running" {
		t.Errorf("the job: %+v", s)
	}
	began := time.Now()
	d.Call(t, "io.imaged.jobs.Cancel", fmt.Sprintf(`{"job":%q}`, job))
	if last := lastReply(t, c); last.Error != "io.imaged.transfers.Cancelled" {
		t.Errorf("%s", last.Raw)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the cancelled job ended after %s", took)
	}
	wantEmpty(t, d)
}

// TestTwoDaemonsOnOneStore live together: each sees what the other does, and they do not break each other's work.
func TestTwoDaemonsOnOneStore(t *testing.T) {
	t.Parallel()
	r := registrytest.New(t, registrytest.Options{})
	first := daemon.Start(t, daemon.Options{})
	second := daemon.Start(t, daemon.Options{Args: []string{"--root", first.Root, "--runroot", first.RunRoot, "--tmpdir", first.Tmp}})
	both := []*daemon.Daemon{first, second}
	const images = 6
	var conns []*daemon.Conn
	for i := range images {
		r.PushImage(t, fmt.Sprintf("app:%d", i), slowImage())
		for _, d := range both { // the same image by both at once
			c := d.Dial(t)
			if err := c.Send("io.imaged.transfers.Pull", pull(r.Ref(fmt.Sprintf("app:%d", i)))); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
	}
	for _, c := range conns {
		if last := lastReply(t, c); last.Error != "" {
			t.Errorf("%s", last.Raw)
		}
	}
	for i, d := range both {
		image := r.Ref(fmt.Sprintf("app:%d", i))
		if reply := d.Call(t, "io.imaged.images.Remove", fmt.Sprintf(`{"names":[%q]}`, image)); reply.Error != "" || strings.Contains(string(reply.Raw), `"error"`) {
			t.Errorf("%s", reply.Raw)
		}
		if reply := both[1-i].Call(t, "io.imaged.images.Exists", fmt.Sprintf(`{"name":%q}`, image)); reply.Field("exists") != "false" {
			t.Errorf("the other still sees it: %s", reply.Raw)
		}
	}
	for _, d := range both {
		reply := d.Call(t, "io.imaged.images.List", "")
		if n := strings.Count(string(reply.Raw), `"id":`); n != images-2 {
			t.Errorf("%d images: %s", n, reply.Raw)
		}
	}
}

// TestPolicyRejectsEverywhere has a policy that lets nothing in, on whatever way; nor does one that vanishes.
func TestPolicyRejectsEverywhere(t *testing.T) {
	t.Parallel()
	r := registrytest.New(t, registrytest.Options{})
	r.PushImage(t, "sample:1", registrytest.ImageOptions{})
	d := daemon.Start(t, daemon.Options{Files: map[string]string{
		".config/containers/policy.json": `{"default":[{"type":"reject"}]}`, "rootfs.tar": rootfs(t),
	}})
	w := newWorld(t)
	archive(t, w)
	refused := func(want, when string) {
		t.Helper()
		for method, in := range map[string]string{
			"Pull":   pull(r.Ref("sample:1")),
			"Load":   fmt.Sprintf(`{"path":%q}`, w.expand("$DIR/archive.tar")),
			"Import": fmt.Sprintf(`{"path":"%s/rootfs.tar"}`, d.Dir),
			"Copy": fmt.Sprintf(`{"source":%q,"destination":%q,"sourceTlsVerify":false,"destinationTlsVerify":false}`,
				"docker://"+r.Ref("sample:1"), "docker://"+r.Ref("copied:1")),
		} {
			if reply := d.Call(t, "io.imaged.transfers."+method, in); reply.Error != "io.imaged.transfers."+want {
				t.Errorf("%s: %s: %s", when, method, reply.Raw)
			}
		}
		wantEmpty(t, d)
	}
	refused("PolicyRejected", "with the policy")
	if err := os.Remove(filepath.Join(d.Dir, ".config/containers/policy.json")); err != nil {
		t.Fatal(err)
	}
	refused("Failed", "without it")
}

// TestSearchWithoutEnd has registries whose answers to a search, or for tags, go on and on.
func TestSearchWithoutEnd(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/v2/" {
			return
		}
		begin, piece := `{"results":[{"name":"a"}`, strings.Repeat(`,{"name":"a"}`, 10_000)
		if strings.HasSuffix(req.URL.Path, "/tags/list") {
			begin, piece = `{"name":"a","tags":["a"`, strings.Repeat(`,"a"`, 30_000)
		}
		_, err := io.WriteString(w, begin)
		for err == nil {
			_, err = io.WriteString(w, piece)
		}
	}))
	t.Cleanup(server.Close)
	d := daemon.Start(t, daemon.Options{})
	before := d.Memory(t)
	for _, more := range []string{"", `,"listTags":true`} {
		reply := d.Call(t, "io.imaged.transfers.Search", fmt.Sprintf(`{"term":"%s/a","tlsVerify":false%s}`, strings.TrimPrefix(server.URL, "http://"), more))
		checkError(t, contracts["io.imaged.transfers"], reply)
		if reply.Error == "" || strings.HasSuffix(reply.Error, ".Failed") {
			t.Errorf("%.500s", reply.Raw)
		}
		t.Logf("%.300s", reply.Raw)
	}
	if after := d.Memory(t); after > before+256<<20 {
		t.Errorf("the daemon has grown from %d to %d MiB", before>>20, after>>20)
	}
}
