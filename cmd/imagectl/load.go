package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// loadOptions are the flags of load, as podman has them.
type loadOptions struct {
	input, name string
	quiet       bool
}

func newLoadCommand(a *app) *cobra.Command {
	o := &loadOptions{}
	cmd := &cobra.Command{
		Use: "load", Short: "Load images from an archive",
		Long: `Load all images of an archive: a docker-archive or an oci-archive, compressed or not, or a docker-dir or oci-dir, as a
folder or as a tar. It comes from the file or folder that --input names, or from standard input.
The names of the images are printed, one a line; an image without one is told by its id.`,
		Example: `  imagectl load -i alpine.tar
  imagectl load < alpine.tar.gz
  imagectl save alpine | imagectl --address unix:/run/other.sock load`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.input, "input", "i", "", "read the `FILE` or folder; - is standard input")
	flags.StringVar(&o.name, "name", "", "one more `NAME` for the image, if the archive holds a single one")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "no talk and no progress on standard error")
	cmd.RunE = a.run(func(ctx context.Context, _ []string) error {
		a.quiet = a.quiet || o.quiet
		in := transfers.LoadIn{Name: optional(o.name)}
		return a.withSession(ctx, func(s *session) error { return a.runLoad(ctx, s, in, o.input) })
	})
	return cmd
}

func (a *app) runLoad(ctx context.Context, s *session, in transfers.LoadIn, input string) error {
	file, err := a.openInput(input, true)
	if err != nil {
		return err
	}
	defer closeQuietly(file)
	subject := input
	if file == a.streams.In {
		subject = standardInput
	}
	var out transfers.LoadOut
	load := func(ctx context.Context, f *os.File) (err error) {
		out, err = a.load(ctx, s, in, f, subject)
		return err
	}
	stat, err := file.Stat()
	switch {
	case err != nil:
		return inputError(input, err)
	case stat.IsDir():
		err = pipe(ctx, func(_ context.Context, w *os.File) error { return pack(w, input) }, load)
	default:
		err = load(ctx, file)
	}
	if err != nil {
		return err
	}
	return a.printLoaded(out)
}

func (a *app) printLoaded(out transfers.LoadOut) error {
	if a.json {
		return a.printJSON(out)
	}
	return a.printLines(out.Names)
}

// load lets the daemon read an archive from a file's descriptor.
func (a *app) load(ctx context.Context, s *session, in transfers.LoadIn, f *os.File, subject string) (out transfers.LoadOut, err error) {
	if in.FileDescriptor, err = s.pass(f); err != nil {
		return out, err
	}
	err = a.finish(ctx, s, transfers.Interface+".Load", in, &out, work{
		doing: "loading", did: "loaded", subject: subject, left: "load of " + subject + " cancelled",
	})
	return out, err
}

// openInput opens a file for reading, or a folder where that will do, too. No path, or -, is standard input. The caller
// closes what it gets.
func (a *app) openInput(path string, folder bool) (*os.File, error) {
	file, ok := a.streams.In.(*os.File)
	switch {
	case path != "" && path != "-":
		var err error
		if file, err = os.Open(path); err != nil {
			return nil, inputError(path, err)
		}
	case !ok || a.streams.InTerminal != nil:
		return nil, usagef("name a file, or send one into standard input", "there is nothing to read on a terminal")
	default:
		path = standardInput
	}
	stat, err := file.Stat()
	if err == nil && (stat.Mode()&os.ModeDevice != 0 || stat.IsDir() && !folder) {
		err = errors.New("it is no regular file, pipe or socket")
	}
	if err != nil {
		closeQuietly(file)
		return nil, inputError(path, err)
	}
	return file, nil
}

// standardInput is how it is called.
const standardInput = "standard input"
