package hostconf_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containers/image/v5/types"

	"github.com/imaged-project/imaged/engine/hostconf"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, dir string) *hostconf.Config {
	t.Helper()
	c, err := hostconf.Load(hostconf.Options{Dir: t.TempDir(), ConfigDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHostFilesWin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	policy, registries := filepath.Join(dir, "policy.json"), filepath.Join(dir, "registries.conf")
	write(t, policy, `{"default":[{"type":"reject"}]}`)
	write(t, registries, `unqualified-search-registries = ["host.example"]`)
	c := load(t, dir)
	var sys types.SystemContext
	c.Apply(&sys)
	if sys.SignaturePolicyPath != policy || sys.SystemRegistriesConfPath != registries {
		t.Errorf("context = %+v", sys)
	}
	if got := c.Sources(); got[0].Path != policy || got[1].Path != registries {
		t.Errorf("sources = %v", got)
	}
	if got, err := c.SearchRegistries(); err != nil || !slices.Equal(got, []string{"host.example"}) {
		t.Errorf("SearchRegistries = %v, %v", got, err)
	}
	write(t, registries, `unqualified-search-registries = ["other.example"]`)
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.SearchRegistries(); err != nil || !slices.Equal(got, []string{"other.example"}) {
		t.Errorf("SearchRegistries after a reload = %v, %v", got, err)
	}
}

func TestHostPolicyReplacesBuiltinAtReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := load(t, dir)
	if got := c.Sources()[0]; got != (hostconf.Source{Name: hostconf.PartPolicy}) {
		t.Errorf("source = %v", got)
	}
	policy := filepath.Join(dir, "policy.json")
	write(t, policy, `{"default":[{"type":"reject"}]}`)
	if err := c.Reload(); err != nil || c.Sources()[0].Path != policy {
		t.Errorf("after a reload: %v, %v", c.Sources(), err)
	}
	if err := os.Remove(policy); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); !errors.Is(err, hostconf.ErrPolicyGone) {
		t.Errorf("Reload = %v, want ErrPolicyGone", err)
	}
	if _, err := c.PolicyContext(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("PolicyContext = %v: a policy that was removed must not let images in", err)
	}
}

func TestBrokenFilesFailOnlyWhatNeedsThem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "policy.json"), `{`)
	write(t, filepath.Join(dir, "registries.conf"), `=`)
	c := load(t, dir)
	if _, err := c.PolicyContext(); err == nil {
		t.Error("a broken policy was taken")
	}
	if _, err := c.SearchRegistries(); err == nil {
		t.Error("a broken registries.conf was taken")
	}
	if err := c.Reload(); err == nil {
		t.Error("Reload says nothing of broken files")
	}
}
