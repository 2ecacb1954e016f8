package idl_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/idl"
)

func TestDescriptionIsTheFile(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("*.varlink")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(path, ".varlink"))
	}
	if diff := cmp.Diff(names, idl.Names()); diff != "" {
		t.Fatalf("Names() differs from the folder (-want +got):\n%s", diff)
	}
	for _, name := range names {
		want, err := os.ReadFile(name + ".varlink")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), idl.Description(name)); diff != "" {
			t.Errorf("Description(%q) (-want +got):\n%s", name, diff)
		}
	}
}

func TestDescriptionOfUnknownInterfacePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("Description did not panic")
		}
	}()
	idl.Description("io.imaged.nothing")
}

func ExampleDescription() {
	text := idl.Description("io.systemd.service")
	fmt.Println(strings.SplitN(text, "\n", 2)[0])
	// Output: # An interface for service control and introspection, as systemd's own services have it.
}
