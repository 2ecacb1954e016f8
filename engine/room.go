package engine

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// LimitFreeBytes is PullLimits.FreeBytes.
const LimitFreeBytes = "store.freeBytes"

// roomStep is after how many bytes room is looked for again.
const roomStep = 1 << 20

// roomKeeper keeps some room free on the disks that are written to.
type roomKeeper struct {
	keep int64
}

// check fails with *errdefs.StorageFull if the file system of a path has less free than is to be kept.
func (k *roomKeeper) check(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil || st.Blocks == 0 {
		return nil // whoever writes there will be told
	}
	free := int64(min(st.Bavail, 1<<40)) * st.Bsize
	if free >= k.keep {
		return nil
	}
	return &errdefs.StorageFull{
		Path: path, Reason: fmt.Sprintf("%d bytes are free, and %s keeps %d free", free, LimitFreeBytes, k.keep),
	}
}

// reader looks after room on the way of what is read and written to the file system of a path.
func (k *roomKeeper) reader(r io.Reader, path string) io.Reader {
	return &roomReader{Reader: r, room: k, path: path}
}

type roomReader struct {
	io.Reader
	room *roomKeeper
	path string
	n    int
}

// Read reads on, or fails with *errdefs.StorageFull.
func (r *roomReader) Read(p []byte) (int, error) {
	if r.n >= roomStep {
		r.n = 0
		if err := r.room.check(r.path); err != nil {
			return 0, err
		}
	}
	n, err := r.Reader.Read(p)
	r.n += n
	return n, err
}
