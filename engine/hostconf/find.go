package hostconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containers/storage/pkg/homedir"
	storagetypes "github.com/containers/storage/types"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// systemDir is where a host's administrator keeps the configuration, vendorDir where a distribution does.
const (
	systemDir = "/etc/containers"
	vendorDir = "/usr/share/containers"
)

// ErrPolicyGone says that the host's policy.json was removed while the program ran.
var ErrPolicyGone = errors.New("the host had a policy.json and has none any more; put it back, or restart to accept the built-in policy")

// findPolicy returns the path of the host's policy.json, or "" if there is none and never was.
func (c *Config) findPolicy() (string, error) {
	path, err := first(c.candidates("policy.json")...)
	if err != nil {
		return "", fmt.Errorf("signature policy: %w", err)
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if path == "" && c.hostPolicy {
		return "", fmt.Errorf("signature policy: %w", ErrPolicyGone)
	}
	return path, nil
}

// findRegistries returns the path of the host's registries.conf ("" if there is none), and the path that contexts
// must carry. That is empty where the library finds the host's files by itself, as the folders that it adds depend on
// how it found them.
func (c *Config) findRegistries() (found, pinned string, err error) {
	for _, variable := range []string{"CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH"} {
		if path, ok := os.LookupEnv(variable); ok && c.opts.ConfigDir == "" {
			return path, path, nil
		}
	}
	found, err = first(c.candidates("registries.conf")...)
	switch {
	case err != nil:
		return "", "", fmt.Errorf("registries.conf: %w", err)
	case found == "":
		return "", filepath.Join(c.opts.Dir, builtinRegistriesName), nil
	case c.opts.ConfigDir != "":
		return found, found, nil
	}
	return found, "", nil
}

// candidates are the places of a file of containers/image, the first that exists wins.
func (c *Config) candidates(name string) []string {
	if c.opts.ConfigDir != "" {
		return []string{filepath.Join(c.opts.ConfigDir, name)}
	}
	return []string{filepath.Join(homedir.Get(), ".config/containers", name), filepath.Join(systemDir, name)}
}

// storageSource returns the storage.conf in force. It comes after the store's options were loaded, which is what
// makes the library settle on a file.
func storageSource() (string, error) {
	if _, err := storagetypes.DefaultStoreOptions(); err != nil {
		return "", fmt.Errorf("storage.conf: %w", err)
	}
	path, err := storagetypes.DefaultConfigFile()
	if err != nil {
		return "", fmt.Errorf("storage.conf: %w", err)
	}
	return first(path)
}

// containersSource returns the containers.conf that has the last word.
func containersSource() string {
	if path := os.Getenv("CONTAINERS_CONF"); path != "" {
		return path
	}
	user := os.Getenv("XDG_CONFIG_HOME")
	if user == "" {
		user = filepath.Join(homedir.Get(), ".config")
	}
	path, err := first(filepath.Join(user, "containers/containers.conf"),
		filepath.Join(systemDir, "containers.conf"), filepath.Join(vendorDir, "containers.conf"))
	if err != nil {
		return ""
	}
	return path
}

// first returns the first path that exists, "" if none does. A path that cannot be looked at is an error, not an
// absence: a policy that we may not read must not count as none.
func first(paths ...string) (string, error) {
	for _, path := range paths {
		_, err := os.Stat(path)
		switch {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR):
			return "", err
		}
	}
	return "", nil
}

// replaceFile puts a file in place in one step, for a second process may be reading the old one.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func discard() logrus.FieldLogger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}
