package staging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containers/storage/pkg/archive"
	_ "github.com/containers/storage/pkg/chrootarchive" // has the helper process
	"github.com/containers/storage/pkg/reexec"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine/errdefs"
)

const (
	// maxSaid is how much of a helper's last words is kept, in bytes.
	maxSaid = 4 << 10
	// pipeSize is how much may wait for a helper, in bytes.
	pipeSize = 1 << 20
	// killTime is how long a killed helper has to be gone.
	killTime = 10 * time.Second
	// niceness lets helpers wait for processors rather than the daemon's replies to others.
	niceness = 10
)

// child is the storage library's helper process that unpacks one uncompressed layer into a folder, which is the root of
// its file system. This is what chrootarchive.UntarUncompressed starts, but it can be killed.
type child struct {
	cmd   *exec.Cmd
	stdin *os.File
	said  limitedBuffer
}

// startChild starts a helper. It is killed when the context ends.
func startChild(ctx context.Context, folder string, options *archive.TarOptions) (c *child, err error) {
	var ours, theirs []*os.File
	defer func() {
		for _, f := range theirs {
			err = errors.Join(err, f.Close())
		}
		for _, f := range ours {
			if err != nil {
				_ = f.Close() // the first error tells more
			}
		}
	}()
	root, err := os.OpenFile(folder, unix.O_DIRECTORY|unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	theirs = append(theirs, root)
	settings, setting, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	theirs, ours = append(theirs, settings), append(ours, setting)
	layer, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	theirs, ours = append(theirs, layer), append(ours, stdin)
	widen(stdin)

	c = &child{cmd: reexec.CommandContext(ctx, "storage-untar", "/", "/proc/self/fd/4"), stdin: stdin}
	c.cmd.WaitDelay = killTime
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = layer, &c.said, &c.said
	c.cmd.ExtraFiles = []*os.File{settings, root}           // 3 and 4 in the helper
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // for all its threads to be found
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("unpack layer: %w", err)
	}
	_ = unix.Setpriority(unix.PRIO_PGRP, c.cmd.Process.Pid, niceness) // it works without, too
	err = json.NewEncoder(setting).Encode(options)
	if err = errors.Join(err, setting.Close()); err != nil {
		return nil, errors.Join(err, c.cmd.Process.Kill(), c.cmd.Wait())
	}
	return c, nil
}

// widen lets more wait in a pipe, where the system allows it.
func widen(pipe *os.File) {
	if conn, err := pipe.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}

// Write hands the next piece of the layer over.
func (c *child) Write(p []byte) (int, error) { return c.stdin.Write(p) }

// end says that there is no more, and waits until all is unpacked.
func (c *child) end() error {
	err := c.stdin.Close()
	if e := c.cmd.Wait(); e != nil {
		reason := c.said.reason()
		if c.cmd.ProcessState.Exited() && slices.ContainsFunc(contradictions, func(n unix.Errno) bool { return strings.HasSuffix(reason, n.Error()) }) {
			return &errdefs.InvalidArchive{Reason: "a layer cannot be unpacked: " + reason}
		}
		return fmt.Errorf("unpack layer: %w: %s", e, reason)
	}
	return err
}

// contradictions are what the system answers where the entries of a layer do not go together, as one that lies in a file,
// or behind a link that leads out of the layer. In an empty folder of its own a helper meets them nowhere else.
var contradictions = []unix.Errno{unix.ENOENT, unix.EEXIST, unix.ENOTDIR, unix.EISDIR, unix.ENAMETOOLONG, unix.ELOOP, unix.ENOTEMPTY, unix.EXDEV}

// abort kills the helper and waits until it is gone.
func (c *child) abort() {
	_ = c.cmd.Process.Kill() // it may be gone
	_ = c.stdin.Close()      // nobody reads it any more
	_ = c.cmd.Wait()         // it was killed
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct{ buf bytes.Buffer }

// Write never fails.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.buf.Write(p[:min(len(p), maxSaid-b.buf.Len())])
	return len(p), nil
}

// reason returns what was written, but for lines of the library's log: those are there for any layer. What names of the
// layer's files could do to a terminal or a log is escaped.
func (b *limitedBuffer) reason() string {
	var said []string
	for line := range strings.Lines(b.buf.String()) {
		if !strings.HasPrefix(line, "time=") {
			quoted := strconv.Quote(strings.TrimSpace(line))
			said = append(said, quoted[1:len(quoted)-1])
		}
	}
	return strings.Join(said, "; ")
}

var _ io.Writer = (*limitedBuffer)(nil)
