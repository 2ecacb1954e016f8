package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containers/buildah"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/sirupsen/logrus"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/hostconf"
	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/jobs"
)

// InitReexec runs the helper that this process was started as, if it was started as one: unpacking a layer, for
// example, happens in a child of its own. It is the first statement of main; if it returns true, main returns at once.
func InitReexec() bool { return buildah.InitReexec() }

// Options say which store to open. The zero value opens the one that podman uses on this host for this user.
type Options struct {
	// Root is the folder of the store's permanent files. Empty: storage.conf's graphroot.
	Root string
	// RunRoot is the folder of its files that need not survive a reboot. Empty: storage.conf's runroot.
	RunRoot string
	// Driver is the storage driver, such as overlay or vfs. Empty: storage.conf's, else the best that works.
	Driver string
	// TmpDir is the folder for big temporary files; a private one is made in it. Empty: what containers.conf and
	// TMPDIR say, else /var/tmp.
	TmpDir string
	// ConfigDir stands in for /etc/containers and the user's own configuration of policy and registries, for
	// tests. Empty: the host's files.
	ConfigDir string
	// Jobs are the limits of jobs. Its UID and Panicked are set here if they are zero.
	Jobs jobs.Options
	// Pull are the limits of pulls.
	Pull PullLimits
	// Images are the limits of calls on images.
	Images ImageLimits
	// Archives are the limits of archives that are loaded, imported, pulled or copied from.
	Archives archives.Limits
	// Log gets what a person running the daemon should know. Nil: nothing is logged.
	Log logrus.FieldLogger
}

// Engine is an open store and the work on it. It is safe for concurrent use until Close is called.
type Engine struct {
	log   logrus.FieldLogger
	store storage.Store
	hosts *hostconf.Config
	index *index.Index
	locks *keyedLocks
	guard *guardedStore // what store is
	tmp   *tempDir
	jobs  *jobs.Manager
	pulls pullState
	diffs diffSlots
	stage stageState

	events *events.Hub

	pullLimits    PullLimits
	archiveLimits archives.Limits
	imageLimits   ImageLimits
}

// Open opens the store. Several engines may be open in one process as long as their roots differ. The context bounds
// only the opening.
func Open(ctx context.Context, opts Options) (*Engine, error) {
	if err := ctx.Err(); err != nil {
		return nil, cancelled(ctx)
	}
	if opts.Log == nil {
		opts.Log = discard()
	}
	e := &Engine{log: opts.Log, locks: newKeyedLocks(), jobs: newJobs(opts), pullLimits: opts.Pull, archiveLimits: opts.Archives, imageLimits: opts.Images}
	e.pullLimits.defaults()
	e.archiveLimits.Defaults()
	e.imageLimits.defaults()
	if err := e.open(ctx, opts); err != nil {
		return nil, errors.Join(e.localError("open store", err), e.release())
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context, opts Options) (err error) {
	if e.guard, err = openStore(ctx, opts); err != nil {
		return err
	}
	e.store = e.guard
	if e.hosts, err = hostconf.Load(hostconf.Options{
		Dir: filepath.Join(e.store.RunRoot(), "imaged"), ConfigDir: opts.ConfigDir, Log: opts.Log,
	}); err != nil {
		return err
	}
	base := opts.TmpDir
	if base == "" {
		base = e.hosts.TempDir()
	}
	if e.tmp, err = newTempDir(base, opts.Log); err != nil {
		return err
	}
	if err := e.stage.open(e.store, e.tmp.path, opts.Log); err != nil {
		return err
	}
	if e.index, err = index.New(e.store); err != nil {
		return err
	}
	e.events, err = e.newEvents()
	return err
}

// Close ends the engine: it cancels the jobs that run and waits for their work, shuts the store and removes the private
// folder for temporary files. No verb may be running or be called after. It waits while another program unpacks a
// layer into the same store.
func (e *Engine) Close() error {
	return errors.Join(e.jobs.Shutdown(context.Background()), e.release())
}

func (e *Engine) release() error {
	var errs []error
	if e.tmp != nil {
		errs = append(errs, e.tmp.close())
	}
	if e.guard != nil {
		errs = append(errs, e.guard.close(), e.guard.use(func() error { return closeStore(e.guard.Store) }))
	}
	if e.index != nil {
		errs = append(errs, e.index.Close())
	}
	return errors.Join(errs...)
}

// Reload reads the host's configuration anew, as on SIGHUP. If it is broken, that is the error; where a file cannot
// be found out, the old choice stays. Where the store lies does not change. Running operations keep what they began with.
func (e *Engine) Reload() error {
	if err := e.hosts.Reload(); err != nil {
		return e.localError("reload configuration", err)
	}
	return nil
}

// systemContext makes a context for the libraries with the host's configuration and our temporary folder in it. Each
// call gets its own: the libraries and their callers change it.
func (e *Engine) systemContext() *types.SystemContext {
	_ = e.tmp.make() // on an error whoever wants to write there finds none
	sys := &types.SystemContext{BigFilesTemporaryDir: e.tmp.path}
	e.hosts.Apply(sys)
	return sys
}

// policyContext makes a context that judges images by the host's signature policy. The caller destroys it.
func (e *Engine) policyContext() (*signature.PolicyContext, error) {
	return e.hosts.PolicyContext()
}

// lockImage keeps all others from an image, or from the name of one that is to come, until unlock is called. Waiting
// ends with the context, whose end is then the error. Whoever locks several locks a child before its parent.
func (e *Engine) lockImage(ctx context.Context, key string) (unlock func(), err error) {
	return e.locks.lock(ctx, key)
}

// rlockImage is lockImage for one who only reads the image's layers: others may do so, too.
func (e *Engine) rlockImage(ctx context.Context, key string) (unlock func(), err error) {
	return e.locks.rlock(ctx, key)
}

// durable returns once all that was written to the store is on the disk. Whoever changed the store calls it before
// saying so.
func (e *Engine) durable() error {
	// On a full disk one can still remove images.
	if err := e.guard.journal.Flush(); err != nil && !diskRefuses(err) {
		return e.localError("write journal", err)
	}
	return e.durableUnless(context.Background())
}

// durableUnless is durable for what can be given up: it does not wait any longer than its context lives.
func (e *Engine) durableUnless(ctx context.Context) error {
	err := e.guard.sync.sync(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return e.localError("write store to disk", err)
	}
	return nil
}

// newJobs makes the manager of the engine's jobs.
func newJobs(opts Options) *jobs.Manager {
	if opts.Jobs.UID == 0 {
		opts.Jobs.UID = uint32(os.Geteuid())
	}
	if opts.Jobs.Panicked == nil {
		opts.Jobs.Panicked = func(job string, value any, stack []byte) {
			opts.Log.WithField("job", job).Errorf("internal error: %v\n%s", value, stack)
		}
	}
	return jobs.NewManager(opts.Jobs)
}

func discard() logrus.FieldLogger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}

// subject puts what failed in front of an error.
func subject(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }
