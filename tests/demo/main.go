// Command demo shows imaged at work, on any machine and without leaving a trace:
// it serves a sample image from a registry on loopback, starts imaged on a
// listening socket as systemd would, pulls, lists and inspects the image with
// imagectl, stops the daemon and removes everything. make demo runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/imaged-project/imaged/tests/registrytest"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// defaultRate makes the pull slow enough to be watched: 15 MB a second.
const defaultRate = 15_000_000

// inspection is what the demo shows of what is known of an image.
const inspection = "{{.Digest}}: for {{.Os}}/{{.Architecture}}, {{len .Layers}} layers, runs {{json .Config.Cmd}}"

// patience is how long a command may take to end once it was interrupted.
const patience = 30 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	code := Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Main runs the demo and returns its exit code. It cleans up in any case, also
// when ctx ends before the demo.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	d := demo{stdout: stdout, stderr: stderr}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&d.bin, "bin", "bin", "`folder` of imaged and imagectl")
	flags.Int64Var(&d.rate, "rate", defaultRate, "bytes a second that the registry sends; 0: as fast as it can")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	err := d.run(ctx)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "demo: interrupted; everything is removed")
		return exitInterrupted
	case err != nil:
		fmt.Fprintln(stderr, "demo:", err)
		return exitFailed
	}
	return exitDone
}

// demo is one run.
type demo struct {
	stdout, stderr io.Writer
	bin            string // folder of the commands
	rate           int64  // of the registry

	dir     string // everything that is written
	address string // of the daemon
	image   string // full name of the sample
}

// run makes a place, shows everything in it and removes it.
func (d *demo) run(ctx context.Context) (err error) {
	if d.bin, err = filepath.Abs(d.bin); err != nil {
		return fmt.Errorf("folder of the commands: %w", err)
	}
	if d.dir, err = makeDir(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeDir(d.dir)) }()

	registry, err := registrytest.Start(registrytest.Options{Rate: d.rate})
	if err != nil {
		return err
	}
	defer registry.Close()
	sample := registrytest.SampleImage()
	if _, err := registry.Push("sample:latest", sample); err != nil {
		return err
	}
	d.image = registry.Ref("sample:latest")
	d.say("A registry on %s holds an image of %d layers, %d MB", registry.Host(), sample.Layers,
		int64(sample.Layers)*sample.LayerSize/1e6)

	daemon, err := startDaemon(d.bin, d.dir)
	if err != nil {
		return err
	}
	d.address = daemon.address
	d.say("imaged runs; it was given its socket as systemd gives it")
	// For a user without root's rights the image's files belong to others: only the daemon can remove them.
	err = errors.Join(d.show(ctx), d.imagectl(context.WithoutCancel(ctx), "rm", "--all"), daemon.stop())
	if err != nil {
		if log := daemon.log(); log != "" && ctx.Err() == nil {
			fmt.Fprintf(d.stderr, "The daemon's log:\n%s", log)
		}
		return err
	}
	d.say("imaged was asked to end, and ended well")
	return nil
}

// show runs what there is to be seen.
func (d *demo) show(ctx context.Context) error {
	for _, args := range [][]string{
		{"pull", "--tls-verify=false", d.image},
		{"images"},
		{"history", d.image},
		{"inspect", "--format", inspection, d.image},
	} {
		if err := d.imagectl(ctx, args...); err != nil {
			return err
		}
	}
	d.say("The same from any other program, such as systemd's:")
	fmt.Fprintf(d.stdout, "$ varlinkctl call -E %s io.imaged.transfers.Pull '{\"reference\":\"%s\",\"tlsVerify\":false}'\n",
		strings.TrimPrefix(d.address, "unix:"), d.image)
	return nil
}

// imagectl runs one command on the demo's own terminal.
func (d *demo) imagectl(ctx context.Context, args ...string) error {
	fmt.Fprintf(d.stdout, "\n$ imagectl %s\n", shellWords(args))
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "imagectl"), append([]string{"--address", d.address}, args...)...)
	cmd.Stdout, cmd.Stderr = d.stdout, d.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = patience
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("imagectl %s: %w", args[0], err)
	}
	return nil
}

// say prints a line of the demo's own.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.stdout, "\n== "+format+"\n", args...)
}

// shellWords writes arguments as one types them.
func shellWords(args []string) string {
	words := make([]string, 0, len(args))
	for _, arg := range args {
		if strings.ContainsAny(arg, " {}$\"") {
			arg = "'" + arg + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}
