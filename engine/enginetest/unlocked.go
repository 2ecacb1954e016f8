package enginetest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// AwaitUnlocked waits until nobody has the folders locked (flock) that fit a pattern. The test has unlocked them, but a
// process that another test is just starting has them for a moment, too.
func AwaitUnlocked(t testing.TB, pattern string) {
	t.Helper()
	folders, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range folders {
		for deadline := time.Now().Add(time.Minute); !unlocked(t, path); {
			if time.Now().After(deadline) {
				t.Fatalf("%s stays locked", path)
			}
			time.Sleep(time.Millisecond) // there is nothing that tells
		}
	}
}

func unlocked(t testing.TB, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
