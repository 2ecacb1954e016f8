package engine

import (
	"context"

	"github.com/containers/storage/pkg/unshare"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/hostconf"
)

// Info tells where the store is and what it holds.
type Info struct {
	// Driver is the storage driver.
	Driver string
	// GraphRoot is the folder of the store's permanent files, RunRoot that of the others.
	GraphRoot, RunRoot string
	// TmpDir is the private folder for big temporary files.
	TmpDir string
	// Images and Layers are how many of them there are.
	Images, Layers int
	// Used and Free are bytes on the store's file system: in use, and free for this user.
	Used, Free int64
	// Registries are where short names are looked up, in order.
	Registries []string
	// Rootless is true without root's rights.
	Rootless bool
	// Isolation is how the commands of a build are isolated: oci, chroot or rootless.
	Isolation string
	// Sources tell where each part of the configuration comes from.
	Sources []hostconf.Source
}

// Info tells where the store is and what it holds. A registries.conf that is broken leaves Registries empty.
func (e *Engine) Info(ctx context.Context) (Info, error) {
	s, err := e.snapshot(ctx)
	if err != nil {
		return Info{}, err
	}
	layers, err := e.index.CountLayers()
	if err != nil {
		return Info{}, e.localError("read store", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(e.store.GraphRoot(), &fs); err != nil {
		return Info{}, e.localError("file system of "+e.store.GraphRoot(), err)
	}
	registries, err := e.hosts.SearchRegistries()
	if err != nil {
		e.log.WithError(err).Warn("the host's registries cannot be told")
	}
	return Info{
		Driver: e.store.GraphDriverName(), GraphRoot: e.store.GraphRoot(), RunRoot: e.store.RunRoot(), TmpDir: e.tmp.path,
		Images: s.Len(), Layers: layers,
		Used: int64(fs.Blocks-fs.Bfree) * fs.Bsize, Free: int64(fs.Bavail) * fs.Bsize,
		Registries: registries, Rootless: unshare.IsRootless(), Isolation: isolation(), Sources: e.hosts.Sources(),
	}, nil
}

// isolation tells how the commands of a build are isolated: in a chroot, which needs no other program; without root's
// rights inside a user namespace.
func isolation() string {
	if unshare.IsRootless() {
		return "rootless"
	}
	return "chroot"
}
