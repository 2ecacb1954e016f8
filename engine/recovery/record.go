package recovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// recordFile is the record's name in a journal's folder.
const recordFile = "record.json"

// unknownDisk is no disk's identity: whatever is found later is another one.
const unknownDisk = ""

// record is what a journal says.
type record struct {
	// Clean is a time before which all was on the disk. Zero: nothing is known.
	Clean time.Time `json:"clean"`
	// Disk is what the file system was mounted as. If that is still so, what the kernel had in memory is not lost.
	Disk string `json:"disk"`
	// Touched are the ids of layers and images that were being made or removed.
	Touched map[string]bool `json:"touched,omitempty"`
}

// write puts the record into a journal's folder, whole or not at all; with sync it is on the disk then.
func (r *record) write(dir string, sync bool) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, recordFile+".")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync() // else a power cut may leave an empty one in place of the old one
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, recordFile)); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if !sync {
		return nil
	}
	return syncFolders(dir)
}

// readRecord reads the record of a journal that was left. Nil: no change had begun. One that cannot be understood says
// that nothing is known.
func readRecord(dir string) (*record, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return &record{Disk: unknownDisk}, nil
	}
	return &r, nil
}

// merge makes one record of two: what either says has to be looked at.
func (r *record) merge(other *record) *record {
	if other == nil {
		return r
	}
	if other.Clean.Before(r.Clean) {
		r.Clean = other.Clean
	}
	if other.Disk != r.Disk {
		r.Disk = unknownDisk
	}
	for id := range other.Touched {
		if r.Touched == nil {
			r.Touched = make(map[string]bool)
		}
		r.Touched[id] = true
	}
	return r
}

// syncFolders writes the entries of folders to the disk.
func syncFolders(paths ...string) error {
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// statxMountIDUnique asks statx for an id that no later mount gets. Kernels before 6.8 do not know it.
const statxMountIDUnique = 0x4000

// diskOf identifies the mount that a folder lies on: another boot of the machine or another mount of the file system
// has another identity. It is unknownDisk where that cannot be told.
func diskOf(path string) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return unknownDisk
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|statxMountIDUnique, &st); err != nil || st.Mask&statxMountIDUnique == 0 {
		return unknownDisk
	}
	return fmt.Sprintf("%s:%d:%d:%d", strings.TrimSpace(string(boot)), st.Mnt_id, st.Dev_major<<20|st.Dev_minor, st.Ino)
}
