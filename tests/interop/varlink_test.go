package interop_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/interop"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// interfaces are those that the daemon serves.
var interfaces = []string{
	"io.imaged.images", "io.imaged.info", "io.imaged.jobs", "io.imaged.transfers", "io.systemd.service", "org.varlink.service",
}

// pullArgs are the parameters of a pull from a registry on plain HTTP.
func pullArgs(image string) string {
	return fmt.Sprintf(`{"reference":%q,"tlsVerify":false}`, image)
}

func TestVarlinkctlDescribesTheDaemon(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	d := daemon.Start(t, daemon.Options{})
	root.Bind(d.Dir)
	if out := root.Run(t, "varlinkctl", "info", d.Socket); !strings.Contains(out, "imaged") {
		t.Errorf("info does not name imaged: %s", out)
	}
	listed := strings.Fields(root.Run(t, "varlinkctl", "list-interfaces", d.Socket))
	for _, name := range interfaces {
		if !slices.Contains(listed, name) {
			t.Errorf("%s is not listed: %v", name, listed)
		}
		if out := root.Run(t, "varlinkctl", "introspect", d.Socket, name); !strings.Contains(out, "interface "+name) {
			t.Errorf("introspect %s: %s", name, out)
		}
	}
	methods := strings.Fields(root.Run(t, "varlinkctl", "list-methods", d.Socket))
	for _, method := range []string{"io.imaged.transfers.Pull", "io.imaged.images.List", "io.imaged.jobs.Attach"} {
		if !slices.Contains(methods, method) {
			t.Errorf("%s is not listed: %v", method, methods)
		}
	}
}

func TestVarlinkctlPullsWithProgress(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	registry := registrytest.New(t, registrytest.Options{Rate: 4 << 20})
	registry.PushImage(t, "sample:latest", registrytest.ImageOptions{LayerSize: 1 << 20})
	d := daemon.Start(t, daemon.Options{})
	root.Bind(d.Dir)

	image := registry.Ref("sample:latest")
	out := root.Run(t, "varlinkctl", "call", "-E", "--json=short", d.Socket, "io.imaged.transfers.Pull", pullArgs(image))
	// varlinkctl separates replies as RFC 7464 says.
	replies := strings.Split(strings.ReplaceAll(strings.TrimSpace(out), "\x1e", ""), "\n")
	progress := 0
	for _, reply := range replies {
		if strings.Contains(reply, `"progress"`) {
			progress++
		}
	}
	if progress < 3 {
		t.Errorf("%d of %d replies have progress: %s", progress, len(replies), out)
	}
	var final struct{ IDs, Names []string }
	if err := json.Unmarshal([]byte(replies[len(replies)-1]), &final); err != nil {
		t.Fatalf("final reply: %v: %s", err, replies[len(replies)-1])
	}
	if len(final.IDs) != 1 || !slices.Equal(final.Names, []string{image}) {
		t.Errorf("final reply: %+v", final)
	}
	if out := root.Run(t, "varlinkctl", "call", d.Socket, "io.imaged.images.Exists", fmt.Sprintf(`{"name":%q}`, image)); !strings.Contains(out, "true") {
		t.Errorf("Exists: %s", out)
	}
}

func TestVarlinkctlSeesTypedErrors(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	d := daemon.Start(t, daemon.Options{})
	root.Bind(d.Dir)
	for call, want := range map[[2]string]string{
		{"io.imaged.images.Get", `{"name":"localhost/nothing:1"}`}:                "io.imaged.images.ImageNotFound",
		{"io.imaged.images.Get", `{"nam":"x"}`}:                                   "org.varlink.service.InvalidParameter",
		{"io.imaged.transfers.Pull", pullArgs("127.0.0.1:1/nothing:1")}:           "io.imaged.transfers.RegistryUnreachable",
		{"io.imaged.jobs.Cancel", `{"job":"none"}`}:                               "io.imaged.jobs.JobNotFound",
		{"io.imaged.images.Tag", `{"name":"localhost/nothing:1","tags":["a:1"]}`}: "io.imaged.images.ImageNotFound",
	} {
		out, err := root.Try(t, "varlinkctl", "call", d.Socket, call[0], call[1])
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %s: %s %v, want %s", call[0], call[1], out, err, want)
		}
	}
}

func TestVarlinkctlStartsTheDaemonItself(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	imaged := daemon.Binary(t, "imaged")
	// Without options the store is where root's always is; the bound folder has
	// room for overlay mounts, which the throw-away layer has not.
	root.Bind(imaged).BindAt(t.TempDir(), "/var/lib/containers")
	out := root.Run(t, "varlinkctl", "call", imaged, "io.imaged.images.List", "{}")
	var reply struct{ Images []any }
	if err := json.Unmarshal([]byte(out), &reply); err != nil || reply.Images == nil || len(reply.Images) != 0 {
		t.Errorf("List of an empty store: %s (%v)", out, err)
	}
}

func TestPythonVarlink(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	registry := registrytest.New(t, registrytest.Options{})
	registry.PushImage(t, "sample:latest", registrytest.ImageOptions{})
	d := daemon.Start(t, daemon.Options{})
	root.Bind(d.Dir)
	image := registry.Ref("sample:latest")
	address := "unix:" + d.Socket
	out := root.Run(t, "python3", "-m", "varlink.cli", "call", "-m", address+"/io.imaged.transfers.Pull", pullArgs(image))
	if !strings.Contains(out, `"ids"`) {
		t.Errorf("pull: %s", out)
	}
	if out := root.Run(t, "python3", "-m", "varlink.cli", "info", address); !strings.Contains(out, "io.imaged.images") {
		t.Errorf("info: %s", out)
	}
	const program = `
import sys, varlink
with varlink.Client(address=sys.argv[1]) as client, client.open("io.imaged.images") as images:
    for image in images.List()["images"]:
        print(image["names"][0], image["size"] > 0)
    try:
        images.Get("localhost/nothing:1")
    except varlink.VarlinkError as error:
        print(error.error(), error.parameters()["name"])
`
	want := image + " True\nio.imaged.images.ImageNotFound localhost/nothing:1\n"
	if out := root.Run(t, "python3", "-c", program, address); out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestPythonOfTheReadme(t *testing.T) {
	t.Parallel()
	root := interop.Trixie(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```python\n")
	program, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the README has no Python")
	}
	registry := registrytest.New(t, registrytest.Options{})
	registry.PushImage(t, "sample:latest", registrytest.ImageOptions{})
	d := daemon.Start(t, daemon.Options{})
	root.Bind(d.Dir)
	program = strings.NewReplacer(
		"/run/imaged/imaged.sock", d.Socket,
		`"quay.io/podman/hello:latest"`, fmt.Sprintf("%q, tlsVerify=False", registry.Ref("sample:latest")),
	).Replace(program)
	if out := root.Run(t, "python3", "-c", program); !strings.Contains(out, " bytes\npulled [") {
		t.Errorf("the README's program says %q", out)
	}
}

func TestRawBytes(t *testing.T) {
	t.Parallel()
	d := daemon.Start(t, daemon.Options{})
	nc, err := exec.LookPath("nc")
	if err != nil {
		interop.Missing(t, "no nc: apt-get install netcat-openbsd")
	}
	cmd := exec.CommandContext(t.Context(), nc, "-N", "-U", d.Socket)
	cmd.Stdin = strings.NewReader(`{"method":"io.imaged.images.List"}` + "\x00")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"parameters":{"images":[]}}` + "\x00"; string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}
