package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// saveOptions are the flags of save, as podman has them.
type saveOptions struct {
	output, format                       string
	compress, uncompressed, multi, quiet bool
	tags                                 []string
}

// archiveFormats are what --format knows, as podman writes them.
var archiveFormats = []string{"docker-archive", "oci-archive", "docker-dir", "oci-dir"}

func newSaveCommand(a *app) *cobra.Command {
	o := &saveOptions{}
	cmd := &cobra.Command{
		Use: "save IMAGE...", Short: "Write images into an archive",
		Long: `Write images into an archive, by default a docker-archive, which takes several images and streams: no copy of it is
made on the way. It goes to the file that --output names, or to standard output, unless that is a terminal.

The file is there only when it is whole: until then what had its name stays, and after a failure, too. The formats
docker-dir and oci-dir make a folder, which must not be there yet or be empty; on standard output they are a tar of it.
--json prints the reply only if standard output does not carry the archive.`,
		Example: `  imagectl save -o alpine.tar alpine
  imagectl save alpine | gzip > alpine.tar.gz
  imagectl save alpine | ssh elsewhere imagectl load
  imagectl save --format oci-dir -o alpine alpine`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeImages(0),
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.output, "output", "o", "", "write to `FILE`, or for the dir formats into the new folder FILE; - is standard output")
	flags.StringVar(&o.format, "format", archiveFormats[0], "docker-archive, oci-archive, docker-dir or oci-dir")
	flags.BoolVar(&o.compress, "compress", false, "compress layers, for the dir formats only")
	flags.BoolVar(&o.uncompressed, "uncompressed", false, "leave layers uncompressed in the OCI formats")
	flags.BoolVarP(&o.multi, "multi-image-archive", "m", false, "write all images that are named; that is so without it, too")
	flags.StringArrayVar(&o.tags, "tag", nil, "write `NAME` as one more name of the image; may be given again")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "no talk and no progress on standard error")
	completeWords(cmd, "format", archiveFormats)
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		a.quiet = a.quiet || o.quiet
		in, err := o.parameters(args)
		if err != nil {
			return err
		}
		return a.withSession(ctx, func(s *session) error { return a.runSave(ctx, s, in, o) })
	})
	return cmd
}

func (o *saveOptions) parameters(names []string) (transfers.SaveIn, error) {
	in := transfers.SaveIn{Names: names, Tags: o.tags}
	if !slices.Contains(archiveFormats, o.format) {
		return in, usagef("choose docker-archive, oci-archive, docker-dir or oci-dir", "--format %s is unknown", o.format)
	}
	in.Format = transfers.ArchiveFormat(strings.ReplaceAll(o.format, "-", "_"))
	if o.compress {
		in.Compress = &o.compress
	}
	if o.uncompressed {
		in.AcceptUncompressed = &o.uncompressed
	}
	return in, nil
}

func (o *saveOptions) toStdout() bool { return o.output == "" || o.output == "-" }

func (o *saveOptions) folder() bool { return strings.HasSuffix(o.format, "-dir") }

func (a *app) runSave(ctx context.Context, s *session, in transfers.SaveIn, o *saveOptions) error {
	var out transfers.SaveOut
	save := func(ctx context.Context, f *os.File) (err error) {
		out, err = a.save(ctx, s, in, f)
		return err
	}
	switch {
	case o.toStdout():
		stdout, ok := a.streams.Out.(*os.File)
		if !ok || a.streams.OutTerminal != nil {
			return forTerminal()
		}
		return save(ctx, stdout)
	case o.folder():
		if err := saveFolder(ctx, o.output, save); err != nil {
			return err
		}
	default:
		file, err := newOutFile(o.output)
		if err != nil {
			return err
		}
		if terminal(file.File) != nil {
			return file.finish(forTerminal())
		}
		if err := file.finish(save(ctx, file.File)); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(out)
	}
	return nil
}

func forTerminal() error {
	return usagef("give --output FILE, or send it into a file or a pipe", "an archive is nothing for a terminal")
}

// saveFolder unpacks what save writes.
func saveFolder(ctx context.Context, path string, save end) error {
	folder, err := newOutFolder(path)
	if err != nil {
		return err
	}
	return folder.finish(pipe(ctx, save, func(_ context.Context, r *os.File) error {
		if err := unpack(r, folder.root); err != nil {
			return &failure{code: exitFailed, what: "output " + path, why: err.Error(), next: "the folder was not made", err: err}
		}
		return nil
	}))
}

// save lets the daemon write images to a file's descriptor.
func (a *app) save(ctx context.Context, s *session, in transfers.SaveIn, f *os.File) (out transfers.SaveOut, err error) {
	if in.FileDescriptor, err = s.pass(f); err != nil {
		return out, err
	}
	subject := strings.Join(in.Names, " ")
	err = a.finish(ctx, s, transfers.Interface+".Save", in, &out, work{
		doing: "saving", did: "saved", subject: subject, left: "save of " + subject + " cancelled", there: "there",
	})
	return out, err
}
