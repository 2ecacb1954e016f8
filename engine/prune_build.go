package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containers/buildah/pkg/parse"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// Files in a container's folder that tell who made it.
const (
	buildahFile  = "buildah.json"
	podmanFolder = "userdata"
)

// leftByBuild tells whether a container was made by buildah, is not podman's, which may be used with buildah, too, and
// is not mounted: nobody works in it.
func (e *Engine) leftByBuild(id string) (bool, error) {
	c, err := e.store.Container(id)
	if errors.Is(err, storage.ErrContainerUnknown) {
		return true, nil // it is gone
	}
	if err != nil {
		return false, e.localError("read container "+id, err)
	}
	dir, err := e.store.ContainerDirectory(id)
	if err != nil {
		return false, e.localError("read container "+id, err)
	}
	if exists(filepath.Join(dir, podmanFolder)) || !exists(filepath.Join(dir, buildahFile)) {
		return false, nil
	}
	mounts, err := e.store.Mounted(c.LayerID)
	if err != nil {
		return false, e.localError("read container "+id, err)
	}
	return mounts == 0, nil
}

// exists tells whether a path may be there.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// pruneBuildCache removes what buildah keeps for cache mounts (RUN --mount=type=cache) of this user, as podman does, and
// returns how many bytes that had.
func (e *Engine) pruneBuildCache() (int64, error) {
	path := filepath.Join(parse.GetTempDir(), parse.BuildahCacheDir+"-"+strconv.Itoa(unshare.GetRootlessUID()))
	bytes := onDisk(path)
	if err := os.RemoveAll(path); err != nil {
		return bytes - onDisk(path), e.localError("remove build cache", err)
	}
	return bytes, nil
}

// onDisk returns how many bytes a folder takes on the disk, as far as it can be read. Files with several names count once.
func onDisk(path string) (bytes int64) {
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	_ = filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err != nil || unix.Lstat(path, &st) != nil {
			return nil
		}
		if i := (inode{uint64(st.Dev), st.Ino}); st.Nlink == 1 || st.Mode&unix.S_IFMT == unix.S_IFDIR || !seen[i] {
			seen[i] = st.Nlink > 1
			bytes += st.Blocks * 512
		}
		return nil
	})
	return bytes
}
