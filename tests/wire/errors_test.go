package wire_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// producers make, for every error that an interface declares, a call that ends with it. The name is the bare one where all
// interfaces get it by a call of their own method.
var producers = map[string]func(t *testing.T) daemon.Reply{
	"io.imaged.images.ImageNotFound":    inWorld("io.imaged.images.Get", `{"name":"localhost/nothing:1"}`),
	"io.imaged.images.AmbiguousName":    ambiguous("io.imaged.images.Get", `{"name":"$PREFIX"}`),
	"io.imaged.images.InvalidReference": inWorld("io.imaged.images.Tag", `{"name":"$ID","tags":["UPPER CASE"]}`),
	"io.imaged.images.ImageInUse":       inUse,
	"io.imaged.images.ReadOnlyImage":    readOnlyImage,
	"io.imaged.images.LimitExceeded":    inWorld("io.imaged.images.Tag", `{"name":"$ID","tags":["`+strings.Repeat(`a","`, 1000)+`a"]}`),

	"io.imaged.transfers.ImageNotFound":     inWorld("io.imaged.transfers.Pull", `{"reference":"localhost/nothing:1","policy":"never"}`),
	"io.imaged.transfers.InvalidReference":  inWorld("io.imaged.transfers.Pull", `{"reference":"UPPER CASE"}`),
	"io.imaged.transfers.AmbiguousName":     severalRegistries,
	"io.imaged.transfers.InvalidFormat":     inWorld("io.imaged.transfers.Save", `{"names":["$IMAGE","$IMAGE"],"format":"oci_dir","path":"$DIR/$NEW","compress":true}`),
	"io.imaged.transfers.ReferenceNotFound": fromRegistry(registrytest.Options{}, pull("$REGISTRY/nothing:1")),
	"io.imaged.transfers.AuthenticationRequired": fromRegistry(registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: "p"},
		pull("$REGISTRY/sample:latest")),
	"io.imaged.transfers.AccessDenied":        faulty(registrytest.Fault{Status: 403, Code: "DENIED", Message: "no"}),
	"io.imaged.transfers.RegistryUnreachable": inWorld("io.imaged.transfers.Pull", pull("127.0.0.1:1/nothing:1", `"retries":0`)),
	"io.imaged.transfers.RateLimited":         faulty(registrytest.Fault{Status: 429, RetryAfter: "7200"}),
	"io.imaged.transfers.PolicyRejected":      rejected,
	"io.imaged.transfers.InvalidArchive":      faulty(registrytest.Fault{Body: []byte("<html>")}),
	"io.imaged.transfers.StorageFull":         fullDisk,
	"io.imaged.transfers.Cancelled":           cancelled,
	"io.imaged.transfers.LimitExceeded":       limited,

	"io.imaged.jobs.JobNotFound":   inWorld("io.imaged.jobs.Wait", `{"job":"none"}`),
	"io.imaged.jobs.LimitExceeded": tooManyWatchers,

	"org.varlink.service.InterfaceNotFound": inWorld("io.nowhere.Get", `{}`),
	"org.varlink.service.MethodNotFound":    inWorld("io.imaged.images.Nothing", `{}`),
	"org.varlink.service.InvalidParameter":  inWorld("io.imaged.images.Get", `{}`),
	"org.varlink.service.PermissionDenied":  denied,
	"org.varlink.service.ExpectedMore":      inWorld("io.imaged.jobs.Attach", `{"job":"x"}`),
}

// unproducible are errors that no call can be made to end with, and why.
var unproducible = map[string]string{
	"io.imaged.images.StorageFull":               "a tag of some bytes fits where a layer does not; tests/faultlab fills the disk to the last block",
	"io.imaged.images.StoreBusy":                 "the store's locks are waited for; the kernel's own limits of locks would have to be met",
	"io.imaged.transfers.StoreBusy":              "as for images",
	"io.imaged.images.Cancelled":                 "only a call that is waiting at the moment of the daemon's end gets it",
	"io.imaged.images.Failed":                    "the last resort, for what nobody thought of",
	"io.imaged.transfers.Failed":                 "the last resort",
	"io.imaged.jobs.Cancelled":                   "Wait ends with it at the daemon's end, unless the job ends first: TestTermDuringAPull takes both",
	"io.imaged.jobs.Failed":                      "the last resort",
	"io.imaged.info.Failed":                      "the last resort",
	"io.systemd.service.InconsistentEnvironment": "systemd's interface declares it; our environment is always an array of strings",
	"org.varlink.service.MethodNotImplemented":   "every method is implemented",
	"org.varlink.service.ExpectedUpgrade":        "no method can do nothing but upgrade",
}

func TestEveryErrorCanBeProduced(t *testing.T) {
	t.Parallel()
	for _, c := range contracts {
		for _, e := range c.Errors {
			name := c.Name + "." + e.Name
			produce, reason := producers[name], unproducible[name]
			switch {
			case (produce == nil) == (reason == ""):
				t.Errorf("%s: say in one of the tables which call ends with it, or why none does", name)
			case produce != nil:
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					r := produce(t)
					if r.Error != name {
						t.Errorf("%.1000s", r.Raw)
					}
					called := c
					if c.Name == serviceName {
						called = contracts["io.imaged.images"]
					}
					checkError(t, called, r)
					if c.Name != serviceName && !strings.Contains(r.Text("message"), "; ") {
						t.Errorf("the message does not say what to do next: %.1000s", r.Raw)
					}
				})
			}
		}
	}
}

// failedUses is how often the sources make a Failed. Each is where nothing better is known; a new one needs a reason.
const failedUses = 9

func TestFailedStaysTheException(t *testing.T) {
	t.Parallel()
	var uses []string
	for _, dir := range []string{"../../engine", "../../service", "../../cmd"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for number, line := range strings.Split(string(text), "\n") {
				if strings.Contains(line, "errdefs.Failed{") {
					uses = append(uses, fmt.Sprintf("%s:%d", path, number+1))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(uses) > failedUses {
		t.Errorf("%d uses of errdefs.Failed, were %d: find the error that tells the client more\n%s", len(uses), failedUses, strings.Join(uses, "\n"))
	}
}

func inWorld(method, in string) func(*testing.T) daemon.Reply {
	return func(t *testing.T) daemon.Reply {
		w := newWorld(t)
		return w.Call(t, method, w.expand(in))
	}
}

// pullOf pulls from a registry into a new daemon.
func pullOf(t *testing.T, reference string, o daemon.Options) (*daemon.Daemon, daemon.Reply) {
	t.Helper()
	d := daemon.Start(t, o)
	return d, d.Call(t, "io.imaged.transfers.Pull", pull(reference, `"retries":0`))
}

func fromRegistry(o registrytest.Options, in string) func(*testing.T) daemon.Reply {
	return func(t *testing.T) daemon.Reply {
		r := registrytest.New(t, o)
		r.PushImage(t, "sample:latest", registrytest.ImageOptions{})
		d := daemon.Start(t, daemon.Options{})
		return d.Call(t, "io.imaged.transfers.Pull", strings.ReplaceAll(in, "$REGISTRY", r.Host()))
	}
}

// faulty answers every request for a manifest with a fault.
func faulty(f registrytest.Fault) func(*testing.T) daemon.Reply {
	return func(t *testing.T) daemon.Reply {
		r := registrytest.New(t, registrytest.Options{})
		r.PushImage(t, "sample:latest", registrytest.ImageOptions{})
		r.Misbehave(registrytest.Rule{Path: "/manifests/", Fault: f})
		_, reply := pullOf(t, r.Ref("sample:latest"), daemon.Options{})
		return reply
	}
}

// ambiguous calls a method with the common beginning of two ids.
func ambiguous(method, in string) func(*testing.T) daemon.Reply {
	return func(t *testing.T) daemon.Reply {
		w := newWorld(t)
		seen := map[string]bool{w.values["ID"][:1]: true}
		for i := range 17 { // of so many ids two begin alike
			image := fmt.Sprintf("sample:%d", i)
			w.registry.PushImage(t, image, registrytest.ImageOptions{Layers: 1, LayerSize: 1, Seed: 1, Labels: map[string]string{"n": image}})
			var result struct{ IDs []string }
			w.Call(t, "io.imaged.transfers.Pull", pull(w.registry.Ref(image))).Into(t, &result)
			prefix := result.IDs[0][:1]
			if seen[prefix] {
				w.values["PREFIX"] = prefix
				break
			}
			seen[prefix] = true
		}
		return w.Call(t, method, w.expand(in))
	}
}

func inUse(t *testing.T) daemon.Reply {
	w := newWorld(t)
	tag("localhost/second:1")(t, w)
	return w.Call(t, "io.imaged.images.Remove", w.expand(`{"names":["$ID"]}`))
}

// readOnlyImage looks at another daemon's store as an additional one.
func readOnlyImage(t *testing.T) daemon.Reply {
	w := newWorld(t)
	d := daemon.Start(t, daemon.Options{Files: map[string]string{
		"storage.conf": fmt.Sprintf("[storage]\ndriver = \"overlay\"\n[storage.options]\nadditionalimagestores = [%q]\n", w.Root),
	}})
	return d.Call(t, "io.imaged.images.Remove", w.expand(`{"names":["$IMAGE"]}`))
}

func severalRegistries(t *testing.T) daemon.Reply {
	d := daemon.Start(t, daemon.Options{Files: map[string]string{
		"registries.conf": "unqualified-search-registries = [\"a.example\", \"b.example\"]\nshort-name-mode = \"enforcing\"\n",
	}})
	return d.Call(t, "io.imaged.transfers.Pull", `{"reference":"nothing"}`)
}

func rejected(t *testing.T) daemon.Reply {
	r := registrytest.New(t, registrytest.Options{})
	r.PushImage(t, "sample:latest", registrytest.ImageOptions{})
	_, reply := pullOf(t, r.Ref("sample:latest"), daemon.Options{Files: map[string]string{
		".config/containers/policy.json": `{"default":[{"type":"reject"}]}`,
	}})
	return reply
}

// fullDisk has a store on a file system that is too small for the image.
func fullDisk(t *testing.T) daemon.Reply {
	r := registrytest.New(t, registrytest.Options{})
	r.PushImage(t, "big:1", registrytest.ImageOptions{Layers: 2, LayerSize: 8 << 20})
	home := daemon.Home(t)
	root := filepath.Join(home, "root")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("imaged-test", root, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	// It goes with the mounts of the store.
	d, reply := pullOf(t, r.Ref("big:1"), daemon.Options{Dir: home})
	wantEmpty(t, d)
	return reply
}

func limited(t *testing.T) daemon.Reply {
	r := registrytest.New(t, registrytest.Options{})
	r.PushImage(t, "sample:latest", registrytest.ImageOptions{})
	_, reply := pullOf(t, r.Ref("sample:latest"), daemon.Options{Args: []string{"--limit", "pull.layers=2"}})
	if reply.Text("limit") != "pull.layers" || reply.Field("value") != "2" {
		t.Errorf("%s", reply.Raw)
	}
	return reply
}

func cancelled(t *testing.T) daemon.Reply {
	slow := stall(t)
	d := daemon.Start(t, daemon.Options{})
	puller := d.Dial(t)
	job := startJob(t, puller, pull(slow.Ref("slow:1")))
	if r := d.Call(t, "io.imaged.jobs.Cancel", fmt.Sprintf(`{"job":%q}`, job)); r.Error != "" {
		t.Errorf("%s", r.Raw)
	}
	return lastReply(t, puller)
}

func tooManyWatchers(t *testing.T) daemon.Reply {
	slow := stall(t)
	d := daemon.Start(t, daemon.Options{Args: []string{"--limit", "jobs.watchers=1"}})
	job := startJob(t, d.Dial(t), pull(slow.Ref("slow:1")))
	return d.Call(t, "io.imaged.jobs.Attach", fmt.Sprintf(`{"job":%q}`, job), "more")
}

func denied(t *testing.T) daemon.Reply {
	w := newWorld(t)
	return daemon.Dial(t, w.ReadOnlySocket).Call(t, "io.imaged.images.Prune", "")
}
