package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Variables of the environment that say which programs to test.
const (
	binVariable  = "IMAGED_TEST_BIN"  // the folder of those that were built before
	raceVariable = "IMAGED_TEST_RACE" // not empty: build them under the race detector
)

const tags = "containers_image_openpgp,exclude_graphdriver_btrfs"

// suppression is of the one false report of the storage library; package engine/enginetest tells more.
const suppression = "race:github.com/containers/storage/pkg/lockfile.(*LockFile).AssertLocked\n"

// built is the folder of the programs that this process has built.
var built struct {
	once   sync.Once
	folder string
	err    error
}

// Binary returns the path of one of imaged's commands: of the folder IMAGED_TEST_BIN, else built for this run.
func Binary(t testing.TB, name string) string {
	t.Helper()
	if folder := os.Getenv(binVariable); folder != "" && os.Getenv(raceVariable) == "" {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	built.once.Do(func() { built.folder, built.err = build() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.folder, name)
}

// Clean removes what Binary built. TestMain calls it last.
func Clean() error { return os.RemoveAll(built.folder) }

func build() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("build: no source")
	}
	folder, err := os.MkdirTemp("", "imaged-bin-")
	if err != nil {
		return "", err
	}
	args := []string{"build", "-buildvcs=false", "-tags", tags, "-o", folder + "/"}
	if os.Getenv(raceVariable) != "" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/imaged", "./cmd/imagectl")...)
	cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return folder, fmt.Errorf("build: %w\n%s", err, out)
	}
	return folder, nil
}

// raceOptions tells the race detector of a daemon about the false report.
func raceOptions(t testing.TB) []string {
	t.Helper()
	if os.Getenv(raceVariable) == "" {
		return nil
	}
	path := filepath.Join(t.TempDir(), "suppressions")
	if err := os.WriteFile(path, []byte(suppression), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"GORACE=suppressions=" + path + " " + strings.TrimSpace(os.Getenv("GORACE"))}
}
