package hostconf

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containers/common/pkg/config"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/sirupsen/logrus"
)

// The parts of the configuration, as Source names them.
const (
	// PartPolicy is policy.json: which images are let in.
	PartPolicy = "policy"
	// PartRegistries is registries.conf: mirrors, blocked registries, what short names mean.
	PartRegistries = "registries"
	// PartStorage is storage.conf: where the store is and what drives it.
	PartStorage = "storage"
	// PartContainers is containers.conf: defaults of tools, such as the folder for big temporary files.
	PartContainers = "containers"
)

var (
	//go:embed builtin/policy.json
	builtinPolicy []byte
	//go:embed builtin/registries.conf
	builtinRegistries []byte
)

// Options say where to look. The zero value looks where podman does, but for Dir, which must be set.
type Options struct {
	// Dir is a folder of our own that is not temporary, for the built-in files: the libraries take paths only.
	// It is made if need be. Nobody else may write to it.
	Dir string
	// ConfigDir, if not empty, stands in for /etc/containers and the user's own folder, as far as policy.json,
	// registries.conf, registries.conf.d, registries.d and short-name aliases go.
	ConfigDir string
	// Log is told about built-in defaults in use. Nil: nobody is.
	Log logrus.FieldLogger
}

// Source tells where a part of the configuration comes from.
type Source struct {
	// Name is the part: one of the Part constants.
	Name string
	// Path is the file. Empty: the host has none, and a built-in default applies.
	Path string
}

// Config is the host's configuration as it was when it was loaded last. It is safe for concurrent use.
type Config struct {
	opts Options

	mu         sync.RWMutex // guards what follows
	policy     string       // path in use
	registries string       // path to set in contexts; empty: the library finds the host's files
	sources    []Source
	hostPolicy bool // a policy.json of the host was seen
	tempDir    string
	copies     int
}

// Load finds the host's configuration. A policy.json or registries.conf that is there but broken is only logged: it
// makes pulls fail, not the program.
func Load(opts Options) (*Config, error) {
	if opts.Log == nil {
		opts.Log = discard()
	}
	c := &Config{opts: opts}
	if err := c.writeBuiltin(); err != nil {
		return nil, err
	}
	if err := c.load(); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		opts.Log.WithError(err).Error("the host's configuration is broken, pulls will fail")
	}
	return c, nil
}

// Reload looks for the files anew and reads them. If they cannot be found out, the choices made before stay in force, and
// a registries.conf that is broken leaves what was read before in force. A broken policy.json is chosen and reported: images
// are refused until it is whole again.
func (c *Config) Reload() error {
	if _, err := config.New(&config.Options{SetDefault: true}); err != nil {
		return fmt.Errorf("containers.conf: %w", err)
	}
	if err := c.load(); err != nil {
		return err
	}
	var sys types.SystemContext
	c.Apply(&sys)
	// On success this takes the place of what the library remembers; forgetting that first would leave nothing.
	_, err := sysregistriesv2.TryUpdatingCache(&sys)
	if err != nil {
		err = fmt.Errorf("registries.conf: %w", err)
	}
	return errors.Join(err, c.check())
}

// check reads what was chosen. It also fills the library's cache of registries, so that what blocks a registry
// is settled now and not at the first call.
func (c *Config) check() error {
	c.mu.RLock()
	path := c.policy
	c.mu.RUnlock()
	_, err := signature.NewPolicyFromFile(path)
	if err != nil {
		err = fmt.Errorf("signature policy: %w", err)
	}
	_, regErr := c.SearchRegistries()
	return errors.Join(err, regErr)
}

// Apply sets the paths of the configuration in a context for the libraries.
func (c *Config) Apply(sys *types.SystemContext) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	sys.SignaturePolicyPath = c.policy
	sys.SystemRegistriesConfPath = c.registries
	if dir := c.opts.ConfigDir; dir != "" {
		sys.SystemRegistriesConfDirPath = filepath.Join(dir, "registries.conf.d")
		sys.RegistriesDirPath = filepath.Join(dir, "registries.d")
		sys.UserShortNameAliasConfPath = filepath.Join(dir, "short-name-aliases.conf")
	}
}

// PolicyContext makes a context that judges images by the signature policy. The caller destroys it after use. It
// reads the file that was chosen when the configuration was loaded, and fails if that is gone or broken.
func (c *Config) PolicyContext() (*signature.PolicyContext, error) {
	c.mu.RLock()
	path := c.policy
	c.mu.RUnlock()
	policy, err := signature.NewPolicyFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("signature policy: %w", err)
	}
	pc, err := signature.NewPolicyContext(policy)
	if err != nil {
		return nil, fmt.Errorf("signature policy %s: %w", path, err)
	}
	return pc, nil
}

// SearchRegistries returns the registries that short names are looked up in, in order.
func (c *Config) SearchRegistries() ([]string, error) {
	var sys types.SystemContext
	c.Apply(&sys)
	registries, err := sysregistriesv2.UnqualifiedSearchRegistries(&sys)
	if err != nil {
		return nil, fmt.Errorf("registries.conf: %w", err)
	}
	return registries, nil
}

// Sources tells where each part comes from, in the order policy, registries, storage, containers.
func (c *Config) Sources() []Source {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return append([]Source(nil), c.sources...)
}

// TempDir returns the folder the host wants big temporary files in: TMPDIR, else image_copy_tmp_dir of
// containers.conf, else /var/tmp.
func (c *Config) TempDir() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tempDir
}

// ParallelCopies returns how many layers of an image are to be transferred at once: image_parallel_copies of
// containers.conf, else six.
func (c *Config) ParallelCopies() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.copies
}

func (c *Config) load() error {
	containers, err := config.Default()
	if err != nil {
		return fmt.Errorf("containers.conf: %w", err)
	}
	tempDir, err := containers.ImageCopyTmpDir()
	if err != nil {
		return fmt.Errorf("containers.conf: %w", err)
	}
	if tempDir == "" {
		tempDir = "/var/tmp"
	}
	policy, err := c.findPolicy()
	if err != nil {
		return err
	}
	registries, pinned, err := c.findRegistries()
	if err != nil {
		return err
	}
	storage, err := storageSource()
	if err != nil {
		return err
	}

	c.mu.Lock()
	c.tempDir = tempDir
	c.copies = int(min(cmp.Or(containers.Engine.ImageParallelCopies, defaultCopies), maxCopies))
	c.policy = policy
	if policy == "" {
		c.policy = filepath.Join(c.opts.Dir, builtinPolicyName)
	}
	c.hostPolicy = c.hostPolicy || policy != ""
	c.registries = pinned
	before := c.sources
	c.sources = []Source{
		{PartPolicy, policy}, {PartRegistries, registries}, {PartStorage, storage}, {PartContainers, containersSource()},
	}
	after := c.sources
	c.mu.Unlock()

	c.announce(before, after)
	return nil
}

// announce logs which parts are built in, once as long as nothing changes.
func (c *Config) announce(before, after []Source) {
	for i, s := range after {
		if s.Path != "" || before != nil && before[i].Path == "" {
			continue
		}
		c.opts.Log.WithField("part", s.Name).Warn("the host has no configuration file for this part, the built-in default applies")
	}
}

const (
	// defaultCopies is what the libraries transfer at once if nobody says anything.
	defaultCopies = 6
	// maxCopies is the most that containers.conf can ask for here.
	maxCopies = 64

	builtinPolicyName     = "builtin-policy.json"
	builtinRegistriesName = "builtin-registries.conf"
)

func (c *Config) writeBuiltin() error {
	if err := os.MkdirAll(c.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("built-in configuration: %w", err)
	}
	for name, data := range map[string][]byte{builtinPolicyName: builtinPolicy, builtinRegistriesName: builtinRegistries} {
		if err := replaceFile(filepath.Join(c.opts.Dir, name), data); err != nil {
			return fmt.Errorf("built-in configuration: %w", err)
		}
	}
	return nil
}
