package main

import (
	"context"
	"errors"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// app is one run of imagectl: its streams and the flags that every command has.
type app struct {
	streams  Streams
	address  string
	json     bool
	quiet    bool
	progress string
	private  privateOptions
	// started is true once the command line was understood; errors before that are mistakes in it.
	started bool
}

const longHelp = `imagectl works with container images through imaged, over Varlink.

Where no daemon listens at the default address (/run/imaged/imaged.sock for root,
$XDG_RUNTIME_DIR/imaged/imaged.sock for others) it starts one for itself, for one command.
--root, --runroot, --storage-driver and --tmpdir are for that one.

Results go to standard output, everything else to standard error. --json prints the
interface's reply, and the daemon's errors as the replies they are. Progress is bars on a
terminal and a line every 10 seconds elsewhere; --progress=rawjson writes the reply frames
to standard error, one a line. NO_COLOR in the environment keeps colours away.

imagectl help exit-codes tells the codes it ends with.`

// Main runs imagectl with the arguments after its name, and gives its exit code. It may be called many times, but not
// at once: it listens to the signals of the process.
func Main(args []string, s Streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A second ^C must not wait for the first one's work: it has the default effect again.
	defer context.AfterFunc(ctx, stop)()
	a := &app{streams: s}
	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if ended(ctx, err) {
		err = interrupted("interrupted")
	}
	if err != nil {
		if !a.started {
			err = asUsage(err)
		}
		a.printError(err)
	}
	if err != nil && ctx.Err() != nil {
		return exitInterrupted
	}
	return exitCode(err)
}

// asUsage makes a failure of an error that cobra found in the command line.
func asUsage(err error) error {
	if _, ok := errors.AsType[*failure](err); ok {
		return err
	}
	what, _, _ := strings.Cut(err.Error(), "\n")
	return &failure{code: exitUsage, what: what, next: "imagectl --help and imagectl COMMAND --help tell what is valid", err: err}
}

// newRootCommand puts the commands and the flags they share together.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use: "imagectl", Short: "Work with container images through imaged", Long: longHelp, Version: version,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDescriptions: false},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.check(cmd) },
	}
	root.SetIn(a.streams.In)
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	a.addFlags(root)
	completeWords(root, "progress", []string{progressAuto, progressTTY, progressPlain, progressQuiet, progressRaw})
	root.AddGroup(
		&cobra.Group{ID: groupImages, Title: "Images:"},
		&cobra.Group{ID: groupTransfers, Title: "Transfers:"},
		&cobra.Group{ID: groupDaemon, Title: "Jobs and the daemon:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, command := range commands {
			command.GroupID = group
			root.AddCommand(command)
		}
	}
	add(groupImages, newImagesCommand(a), newGetCommand(a), newInspectCommand(a), newExistsCommand(a),
		newResolveCommand(a), newHistoryCommand(a), newTreeCommand(a), newDiffCommand(a), newTagCommand(a), newUntagCommand(a),
		newRemoveCommand(a), newPruneCommand(a), newDFCommand(a), newWatchCommand(a))
	add(groupTransfers, newPullCommand(a), newPushCommand(a), newSaveCommand(a), newLoadCommand(a), newImportCommand(a),
		newCopyCommand(a), newSearchCommand(a))
	add(groupDaemon, newJobsCommand(a), newAttachCommand(a), newCancelCommand(a), newInfoCommand(a), newCallCommand(a))
	root.AddCommand(newExitCodesTopic(), newManCommand(a, root))
	return root
}

// The groups of commands in the help.
const (
	groupImages    = "images"
	groupTransfers = "transfers"
	groupDaemon    = "daemon"
)

func (a *app) addFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&a.address, "address", a.streams.Getenv("IMAGED_ADDRESS"), "address of the daemon, as unix:PATH (environment: IMAGED_ADDRESS)")
	flags.Lookup("address").DefValue = ""
	flags.BoolVar(&a.json, "json", false, "print the interface's reply as JSON")
	flags.BoolVar(&a.quiet, "quiet", false, "no talk and no progress on standard error")
	flags.StringVar(&a.progress, "progress", "", "progress on standard error: auto, tty, plain, quiet or rawjson (environment: IMAGECTL_PROGRESS)")
	flags.StringVar(&a.private.root, "root", "", "the self-started daemon's folder for the store")
	flags.StringVar(&a.private.runRoot, "runroot", "", "the self-started daemon's folder for the store's run state")
	flags.StringVar(&a.private.driver, "storage-driver", "", "the self-started daemon's storage driver")
	flags.StringVar(&a.private.tmpDir, "tmpdir", "", "the self-started daemon's folder for big temporary files")
}

// check looks at the flags that every command has.
func (a *app) check(*cobra.Command) error {
	if _, err := a.progressMode(); err != nil {
		return err
	}
	if a.address != "" && a.private.given() {
		return usagef("leave out one or the other",
			"--root, --runroot, --storage-driver and --tmpdir are for a daemon that imagectl starts, and --address (or IMAGED_ADDRESS) names one that runs")
	}
	return nil
}

// run makes a command's function of one that gets the context and the arguments.
func (a *app) run(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		return f(cmd.Context(), args)
	}
}
