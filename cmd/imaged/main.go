// Command imaged does container-image work for other programs over Varlink.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/service"
)

// Exit codes.
const (
	exitDone   = 0 // ended as asked: by a signal, for want of work, or because its one client left
	exitFailed = 1 // could not serve; the last line of the log says why
	exitUsage  = 2 // flags that make no sense
)

func main() {
	if engine.InitReexec() {
		return
	}
	os.Exit(Main(os.Args[1:], os.Stderr))
}

// options are the flags.
type options struct {
	addresses, readOnlyAddresses []string
	store                        engine.Options
	idle                         time.Duration
	limits                       map[string]int64
	logLevel                     string
}

// errUsage marks a mistake in the flags.
var errUsage = errors.New("usage")

// Main runs imaged and returns its exit code. Nothing is ever written to standard output, which may be a client's.
func Main(args []string, stderr io.Writer) int {
	c := command(stderr)
	c.SetArgs(args)
	err := c.Execute()
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "imaged: %v\nSee imaged --help.\n", err)
		return exitUsage
	}
	logrus.Errorf("imaged stops: %v", err)
	return exitFailed
}

// usage marks what a check of arguments finds.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		return nil
	}
}

func command(stderr io.Writer) *cobra.Command {
	o := options{}
	c := &cobra.Command{
		Use:   "imaged",
		Short: "Container-image work for other programs, over Varlink",
		Long: `imaged serves the interfaces io.imaged.* on Unix sockets. Without addresses it serves the sockets it was activated
with (LISTEN_FDS), else ` + defaultAddress() + `.

SIGTERM and SIGINT end it gracefully: running operations are cancelled and answered. SIGHUP reads the host's
configuration anew.

Exit codes: 0 ended as asked, 1 could not serve, 2 wrong flags.`,
		Version:           service.Version,
		Args:              usage(cobra.NoArgs),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(c *cobra.Command, _ []string) error {
			if o.idle < 0 {
				return fmt.Errorf("%w: idle timeout %s: it is negative", errUsage, o.idle)
			}
			return run(c.Context(), o, stderr)
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	c.SetContext(context.Background())
	c.SetErr(stderr)
	c.SetOut(stderr)
	f := c.Flags()
	f.StringArrayVar(&o.addresses, "address", nil, "serve on this `unix:PATH`; may be repeated")
	f.StringArrayVar(&o.readOnlyAddresses, "read-only-address", nil,
		"serve the methods that change nothing on this `unix:PATH`, for every user of the host; may be repeated")
	f.StringVar(&o.store.Root, "root", "", "keep the store in this `DIR` (default: as storage.conf says)")
	f.StringVar(&o.store.RunRoot, "runroot", "", "keep the store's state in this `DIR` (default: as storage.conf says)")
	f.StringVar(&o.store.Driver, "storage-driver", "", "storage driver `NAME` (default: as storage.conf says)")
	f.StringVar(&o.store.TmpDir, "tmpdir", "", "put big temporary files into this `DIR` (default: as containers.conf says)")
	f.DurationVar(&o.idle, "idle-timeout", 5*time.Minute, "when activated, end after this `DURATION` without clients and jobs; 0: never")
	f.StringToInt64Var(&o.limits, "limit", nil, "set a limit, as `NAME=VALUE`; io.imaged.info.GetLimits lists them; may be repeated")
	f.StringVar(&o.logLevel, "log-level", "info", "log this `LEVEL` and worse: error, warn, info, debug")
	return c
}
