package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// makeDir makes the demo's folder: on a disk, since /tmp may be memory.
func makeDir() (string, error) {
	parent := os.Getenv("TMPDIR")
	if parent == "" {
		parent = "/var/tmp"
	}
	dir, err := os.MkdirTemp(parent, "imaged-demo-")
	if err != nil {
		return "", fmt.Errorf("folder: %w", err)
	}
	return dir, nil
}

// removeDir removes a folder and the mounts in it: a store's overlay folder
// stays mounted on itself when the daemon is gone.
func removeDir(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	var problems []error
	for _, point := range mountsIn(mounts, dir) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			problems = append(problems, fmt.Errorf("clean up: unmount %s: %w", point, err))
		}
	}
	if len(problems) == 0 {
		problems = append(problems, os.RemoveAll(dir))
	}
	return errors.Join(problems...)
}

// mountsIn returns the mount points below dir that a mountinfo file names, the
// newest first.
func mountsIn(mountinfo []byte, dir string) []string {
	const mountPoint = 4 // number of the field
	var points []string
	for lines := bufio.NewScanner(bytes.NewReader(mountinfo)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > mountPoint && strings.HasPrefix(fields[mountPoint], dir+"/") {
			points = append(points, fields[mountPoint])
		}
	}
	slices.Reverse(points)
	return points
}
