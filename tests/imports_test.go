package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// module is the path that all of imaged's packages begin with.
const module = "github.com/imaged-project/imaged/"

// layer says what the packages under one folder may import besides Go's own.
// Imports go down only; a change here is a change of the design, never a way to
// make a build pass.
type layer struct {
	// folder is the package, or the folder of packages, that the row is about.
	// The longest one that fits a package counts.
	folder string
	// ours are packages of imaged, theirs those of other modules, each with all
	// that is below it.
	ours, theirs []string
	// reason is why not more.
	reason string
}

var layers = []layer{
	{
		folder: "idl",
		reason: "the interface files are the contract: everybody may read them, so they depend on nobody",
	},
	{
		folder: "varlink",
		theirs: []string{
			"github.com/varlink/go/varlink", "github.com/go-json-experiment/json", "golang.org/x/sys",
			"github.com/coreos/go-systemd/v22/activation", "github.com/sirupsen/logrus",
		},
		reason: "the runtime knows nothing of images, so that any other project could use it",
	},
	{
		folder: "varlink/varlinktest",
		ours:   []string{"varlink"},
		theirs: []string{"golang.org/x/sys", "go.uber.org/goleak"},
		reason: "helpers for tests of anything that speaks Varlink",
	},
	{
		folder: "varlink/gen",
		ours:   []string{"varlink", "idl"},
		theirs: []string{"github.com/go-json-experiment/json/jsontext"},
		reason: "generated code is what clients import: it brings the protocol along and nothing else",
	},
	{
		folder: "engine",
		ours:   []string{"engine"},
		theirs: []string{
			"github.com/containers", "github.com/opencontainers", "github.com/containerd/platforms", "github.com/docker/distribution",
			"github.com/go-json-experiment/json", "github.com/klauspost/compress", "github.com/ulikunitz/xz", "github.com/vbatts/tar-split",
			"github.com/sirupsen/logrus", "golang.org/x/sync", "golang.org/x/sys",
		},
		reason: "only the engine touches the containers libraries, whose paths will change; it knows nothing of Varlink",
	},
	{
		folder: "engine/errdefs",
		reason: "errors are understood by every layer above, so they bring nothing along",
	},
	{
		folder: "engine/progress",
		reason: "counting needs nothing but numbers",
	},
	{
		folder: "engine/jobs",
		ours:   []string{"engine/errdefs", "engine/progress"},
		reason: "a job is any long work: it must stay testable without a store",
	},
	{
		folder: "engine/enginetest",
		ours:   []string{"engine/stores"},
		theirs: []string{"github.com/containers/storage", "github.com/opencontainers", "go.uber.org/goleak", "golang.org/x/sys"},
		reason: "stores and images for the engine's tests, made without the code under test",
	},
	{
		folder: "service",
		ours:   []string{"engine", "varlink"},
		theirs: []string{"github.com/go-json-experiment/json", "github.com/sirupsen/logrus"},
		reason: "a translation between two layers, without libraries to do anything itself",
	},
	{
		folder: "cmd/imaged",
		ours:   []string{"service", "engine", "varlink"},
		theirs: []string{
			"github.com/spf13/cobra", "github.com/sirupsen/logrus", "github.com/coreos/go-systemd/v22/daemon",
			"golang.org/x/sync", "golang.org/x/sys",
		},
		reason: "wiring; what does the work is in the layers below",
	},
	{
		folder: "cmd/imagectl",
		ours:   []string{"varlink"},
		theirs: []string{
			"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/vbauerster/mpb/v8", "github.com/dustin/go-humanize",
			"github.com/go-json-experiment/json", "golang.org/x/term", "golang.org/x/sys", "golang.org/x/sync",
		},
		reason: "a client like any other: what it can do, everybody can do over the socket",
	},
	{
		folder: "cmd/varlinkgen",
		theirs: []string{"github.com/varlink/go/varlink/idl"},
		reason: "the generator is built before anything that it generates",
	},
	{
		folder: "cmd/varlinkgen/internal",
		ours:   []string{"varlink"},
		theirs: []string{"github.com/go-json-experiment/json/jsontext"},
		reason: "a sample of what it generates, compiled to prove that it compiles",
	},
	{
		folder: "tests",
		ours:   []string{"tests/registrytest"},
		theirs: []string{
			"github.com/google/go-containerregistry", "golang.org/x/crypto/bcrypt", "golang.org/x/sys", "github.com/rogpeppe/go-internal",
		},
		reason: "tests from outside see imaged as strangers do: programs, sockets and registries",
	},
}

// goPackage is what go list tells of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestImportsGoDownOnly(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, pkg := range listPackages(t) {
		folder, _ := strings.CutPrefix(pkg.ImportPath, module)
		row := layerOf(folder)
		if row == nil {
			t.Errorf("%s: in no layer: say in the table what it may import, and why not more", folder)
			continue
		}
		used[row.folder] = true
		for _, imported := range pkg.Imports {
			if !row.allows(imported) {
				t.Errorf("%s imports %s: %s", folder, imported, row.reason)
			}
		}
	}
	for _, row := range layers {
		if !used[row.folder] {
			t.Errorf("%s: the table has a row for it, but there is no such package", row.folder)
		}
	}
}

// listPackages lists the packages of the module.
func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", "containers_image_openpgp,exclude_graphdriver_btrfs",
		"-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, problems.Bytes())
	}
	var all []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg goPackage
		err := dec.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, pkg)
	}
}

// layerOf returns the row for a package, nil if there is none.
func layerOf(pkg string) *layer {
	var best *layer
	for i, row := range layers {
		if below(pkg, row.folder) && (best == nil || len(row.folder) > len(best.folder)) {
			best = &layers[i]
		}
	}
	return best
}

// allows says whether packages of the layer may import another package.
func (l *layer) allows(imported string) bool {
	if ours, ok := strings.CutPrefix(imported, module); ok {
		return layerOf(ours) == l || anyBelow(ours, l.ours)
	}
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".") || anyBelow(imported, l.theirs)
}

// anyBelow says whether a package is one of those in folders.
func anyBelow(pkg string, folders []string) bool {
	for _, folder := range folders {
		if below(pkg, folder) {
			return true
		}
	}
	return false
}

// below says whether a package is in a folder.
func below(pkg, folder string) bool {
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

func TestLayersHaveReasons(t *testing.T) {
	t.Parallel()
	for _, row := range layers {
		if row.reason == "" {
			t.Errorf("%s: no reason", row.folder)
		}
	}
}
