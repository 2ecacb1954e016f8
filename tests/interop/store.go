package interop

import (
	"fmt"

	"github.com/imaged-project/imaged/tests/daemon"
)

// StoreArgs are the options that make podman and buildah use a daemon's store.
func StoreArgs(d *daemon.Daemon) []string {
	return []string{"--root", d.Root, "--runroot", d.RunRoot, "--storage-driver", "overlay"}
}

// StoreRef is the name of an image in a daemon's store for skopeo.
func StoreRef(d *daemon.Daemon, image string) string {
	return fmt.Sprintf("containers-storage:[overlay@%s+%s]%s", d.Root, d.RunRoot, image)
}
