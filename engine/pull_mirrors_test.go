package engine_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// TestMirrorsAreAttempts proves that the error of a pull tells of each mirror that was tried before the registry.
func TestMirrorsAreAttempts(t *testing.T) {
	t.Parallel()
	main, mirror := registrytest.New(t, registrytest.Options{}), registrytest.New(t, registrytest.Options{})
	private := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: "p"})
	p := openPuller(t, func(o *engine.Options) {
		text := "[[registry]]\nlocation = \"" + main.Host() + "\"\ninsecure = true\n"
		for _, host := range []string{"127.0.0.1:1", private.Host(), mirror.Host()} {
			text += "[[registry.mirror]]\nlocation = \"" + host + "\"\ninsecure = true\n"
		}
		writeFile(t, filepath.Join(o.ConfigDir, "registries.conf"), text)
	})
	o := quick()
	o.TLSVerify = nil
	_, err := p.pull(t, main.Ref("app:1"), o)
	missing, ok := errors.AsType[*errdefs.ReferenceNotFound](err)
	if !ok {
		t.Fatal(err)
	}
	want := []errdefs.Attempt{
		{Endpoint: "127.0.0.1:1/app:1", Error: "RegistryUnreachable"},
		{Endpoint: private.Ref("app:1"), Error: "AuthenticationRequired"},
		{Endpoint: mirror.Ref("app:1"), Error: "ReferenceNotFound"},
		{Endpoint: main.Ref("app:1"), Error: "ReferenceNotFound"},
	}
	if diff := cmp.Diff(want, missing.Attempts, cmpopts.IgnoreFields(errdefs.Attempt{}, "Reason")); diff != "" {
		t.Error(diff)
	}
	for _, a := range missing.Attempts {
		if a.Reason == "" {
			t.Errorf("%s failed without a reason", a.Endpoint)
		}
	}
}
