package faultlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// diskSize is the size of a case's file system.
const diskSize = 96 << 20

// patience bounds every wait.
const patience = 30 * time.Second

// disk is the file system that a case's store lies on.
type disk struct {
	file string // ext4 in this file; empty: a tmpfs, whose power cannot be cut
	path string // where it is mounted
	fill []string
}

// newDisk mounts a copy of the template. A tmpfs has room for so many more files.
func newDisk(t *testing.T, dir string, tmpfs bool) *disk {
	t.Helper()
	d := &disk{path: filepath.Join(dir, "disk")}
	must(t, os.Mkdir(d.path, 0o700))
	t.Cleanup(func() { must(t, d.unmount()) })
	if tmpfs {
		must(t, unix.Mount("faultlab", d.path, "tmpfs", 0, fmt.Sprintf("mode=0700,size=%d", diskSize)))
		from := &disk{file: world.template, path: filepath.Join(dir, "template")}
		must(t, os.Mkdir(from.path, 0o700))
		must(t, command("cp", "--sparse=always", world.template, filepath.Join(dir, "template.img")))
		from.file = filepath.Join(dir, "template.img")
		must(t, from.mount())
		must(t, command("cp", "-a", filepath.Join(from.path, "root"), d.path))
		must(t, from.unmount())
		return d
	}
	d.file = filepath.Join(dir, "disk.img")
	must(t, command("cp", "--sparse=always", world.template, d.file))
	must(t, d.mount())
	return d
}

// mount mounts the file, as after a boot.
func (d *disk) mount() error { return command("mount", "-o", "loop", d.file, d.path) }

// unmount unmounts all that is mounted here. Processes that were killed may take a moment to let go.
func (d *disk) unmount() error {
	deadline := time.Now().Add(patience)
	for {
		points, err := mountsBelow(d.path)
		if err != nil {
			return err
		}
		if len(points) == 0 && !d.attached() {
			return nil
		}
		var errs []error
		if len(points) == 0 {
			errs = append(errs, errors.New("a process that was killed still has the file system"))
		}
		for _, point := range slices.Backward(points) {
			if err := unix.Unmount(point, 0); err != nil {
				errs = append(errs, fmt.Errorf("unmount %s: %w", point, err))
			}
		}
		if err := errors.Join(errs...); err != nil && time.Now().After(deadline) {
			return err
		} else if err != nil {
			time.Sleep(20 * time.Millisecond) // there is nothing that tells
		}
	}
}

// attached tells whether a loop device still has the file: the last one who has anything open there lets go of it.
func (d *disk) attached() bool {
	devices, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil || d.file == "" {
		return false
	}
	return slices.ContainsFunc(devices, func(path string) bool {
		file, err := os.ReadFile(path)
		return err == nil && strings.TrimSpace(string(file)) == d.file
	})
}

// mountsBelow returns what is mounted at a path and below it, in the order in which it was.
func mountsBelow(path string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		if point := strings.Fields(line)[4]; point == path || strings.HasPrefix(point, path+"/") {
			points = append(points, point)
		}
	}
	return points, nil
}

// ext4Shutdown is EXT4_IOC_SHUTDOWN, noLogFlush its EXT4_GOING_FLAGS_NOLOGFLUSH.
const (
	ext4Shutdown = 0x8004587D
	noLogFlush   = 2
)

// cut cuts the power: what is not on the disk by now never will be.
func (d *disk) cut() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	flags := uint32(noLogFlush)
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&flags))); no != 0 {
		err = fmt.Errorf("cut power: %w", no)
	}
	return errors.Join(err, f.Close())
}

// leave fills the disk but for so many bytes.
func (d *disk) leave(bytes int64) error {
	name := filepath.Join(d.path, "fill")
	d.fill = append(d.fill, name)
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	free, _, err := d.free()
	for most := free - bytes; err == nil && most > 0; most -= 64 << 10 { // what it takes itself is not known
		if err := unix.Fallocate(int(f.Fd()), 0, 0, most); err == nil {
			break
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("fill disk: %w", err)
	}
	if bytes > 0 {
		return nil
	}
	// To the last byte, which the figures above do not promise.
	f, err = os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
	if errors.Is(err, unix.ENOSPC) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// leaveFiles fills a tmpfs with files but for so many.
func (d *disk) leaveFiles(files int64) error {
	dir := filepath.Join(d.path, "files")
	d.fill = append(d.fill, dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	_, used, err := d.free()
	if err != nil {
		return err
	}
	return unix.Mount("faultlab", d.path, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d,nr_inodes=%d", diskSize, used+files))
}

// unfill takes away what fills the disk.
func (d *disk) unfill() error {
	var errs []error
	for _, path := range d.fill {
		errs = append(errs, os.RemoveAll(path))
	}
	if d.file == "" {
		errs = append(errs, unix.Mount("faultlab", d.path, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d,nr_inodes=0", diskSize)))
	}
	d.fill = nil
	return errors.Join(errs...)
}

// readOnly makes the disk read-only, or writable again.
func (d *disk) readOnly(is bool) error {
	how := "remount,rw"
	if is {
		how = "remount,ro"
	}
	return command("mount", "-o", how, d.path)
}

// free returns how many bytes are free, and how many files there are.
func (d *disk) free() (bytes, files int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.path, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Files - st.Ffree), nil
}

// command runs a program; its error has what it said.
func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
