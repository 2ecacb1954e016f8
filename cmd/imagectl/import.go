package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// importOptions are the flags of import, as podman has them.
type importOptions struct {
	changes  []string
	message  string
	platform platformFlags
	quiet    bool
}

func newImportCommand(a *app) *cobra.Command {
	o := &importOptions{}
	cmd := &cobra.Command{
		Use: "import FILE|URL|- [NAME]", Short: "Make an image from a tar of a root file system",
		Long: `Make an image from a tar of a root file system, compressed or not. It comes from a file, from standard input (-), or from
an http or https address, which the daemon fetches. The id of the image is printed.

The changes are instructions as in a Containerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME
and WORKDIR.`,
		Example: `  imagectl import rootfs.tar.xz localhost/base:1
  tar -C rootfs -c . | imagectl import -c 'CMD ["/bin/sh"]' -m 'from a folder' - localhost/base:2
  imagectl import https://example.com/rootfs.tar.gz localhost/base:3`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&o.changes, "change", "c", nil, "apply an `INSTRUCTION` to the image; may be given again")
	flags.StringVarP(&o.message, "message", "m", "", "`MESSAGE` for the image's history")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "no talk and no progress on standard error")
	o.platform.add(flags, "note in the image")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		a.quiet = a.quiet || o.quiet
		in, err := o.parameters(args)
		if err != nil {
			return err
		}
		return a.withSession(ctx, func(s *session) error { return a.runImport(ctx, s, in, args[0]) })
	})
	return cmd
}

func (o *importOptions) parameters(args []string) (transfers.ImportIn, error) {
	in := transfers.ImportIn{Message: optional(o.message), Changes: o.changes}
	if len(args) > 1 {
		in.Name = &args[1]
	}
	if lower := strings.ToLower(args[0]); strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://") {
		in.URL = &args[0]
	}
	platform, err := o.platform.parse()
	if platform != nil {
		in.Platform = &transfers.Platform{OS: platform.os, Architecture: platform.architecture, Variant: platform.variant}
	}
	return in, err
}

func (a *app) runImport(ctx context.Context, s *session, in transfers.ImportIn, source string) error {
	if in.URL == nil {
		file, err := a.openInput(source, false)
		if err != nil {
			return err
		}
		defer closeQuietly(file)
		if in.FileDescriptor, err = s.pass(file); err != nil {
			return err
		}
	}
	subject := withoutPassword(source)
	if source == "-" {
		subject = standardInput
	}
	var out transfers.ImportOut
	err := a.finish(ctx, s, transfers.Interface+".Import", in, &out, work{
		doing: "importing", did: "imported", subject: subject, left: "import of " + subject + " cancelled",
	})
	switch {
	case err != nil:
		return err
	case a.json:
		return a.printJSON(out)
	case out.ID == nil:
		return nil
	}
	return a.println(*out.ID)
}

// withoutPassword leaves out what an address carries before its host.
func withoutPassword(address string) string {
	scheme, rest, found := strings.Cut(address, "://")
	if !found {
		return address
	}
	host, path, slash := strings.Cut(rest, "/")
	if slash {
		path = "/" + path
	}
	return scheme + "://" + host[strings.LastIndexByte(host, '@')+1:] + path
}
