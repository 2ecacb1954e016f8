// Package enginetest helps tests that use a real store: it makes stores and small images in them, and it gets the race
// detector past the one false report of the storage library.
//
// Only tests may import it. It does not import package engine, so that that package's own tests may use it.
package enginetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containers/storage/pkg/reexec"
	"go.uber.org/goleak"
)

// suppression names the function that the race detector is to overlook: the storage library reads a flag without the
// mutex that another reader of the same lock holds while setting it to the value it has. Its comment in the library
// says why that does no harm. Reports without this function in them are not touched.
const suppression = "race:github.com/containers/storage/pkg/lockfile.(*LockFile).AssertLocked\n"

// Main is for TestMain of a package whose tests use a store. It is the storage library's helper process if it was started as one;
// otherwise it runs the tests and fails if goroutines are left. It does not return.
func Main(m *testing.M, opts ...goleak.Option) {
	if reexec.Init() {
		return
	}
	if raceEnabled {
		if err := suppress(); err != nil {
			fmt.Fprintln(os.Stderr, "enginetest: race detector:", err)
			os.Exit(2)
		}
	}
	goleak.VerifyTestMain(m, opts...)
}

// suppress starts this process anew, once, with the suppression: the race detector reads its options as the program
// starts, and the file of suppressions with them. Programs that the tests start inherit it.
func suppress() error {
	const option = "suppressions="
	if strings.Contains(os.Getenv("GORACE"), option) {
		return nil
	}
	path, err := writeSuppression()
	if err != nil {
		return err
	}
	env := append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" "+option+path)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, env)
}

// writeSuppression writes the file of suppressions. It stays for programs that the tests start, under one name for each
// user so that there is only one.
func writeSuppression() (string, error) {
	f, err := os.CreateTemp("", "race-suppressions-")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(suppression)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("imaged-race-suppressions-%d", os.Getuid()))
	return path, os.Rename(f.Name(), path)
}
