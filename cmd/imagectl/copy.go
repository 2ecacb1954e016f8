package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// copyOptions are the flags of copy: those of skopeo for registries, and the program that reaches other hosts.
type copyOptions struct {
	all, quiet bool
	from, to   registryFlags
	ssh        string
	changed    func(flag string) bool
}

func newCopyCommand(a *app) *cobra.Command {
	o := &copyOptions{}
	cmd := &cobra.Command{
		Use: "copy SOURCE [DESTINATION]", Short: "Copy an image between places, and between hosts",
		Long: `Copy an image from one place to another. A place is a name of an image in the store, or

  docker://REFERENCE                in a registry
  docker-archive:PATH[:REFERENCE]   in an archive
  oci-archive:PATH[:NAME]           in an archive
  oci:PATH[:NAME]                   in a folder
  dir:PATH                          in a folder
  [USER@]HOST::[IMAGE]              in the store of another host, over ssh
  ssh://[USER@]HOST[:PORT]/[IMAGE]  the same

Places with a path are for the daemon's own user alone. A name of the store that looks like one of these gets
containers-storage: before it. The digest of what was copied is printed.

To and from other hosts go images of the store, of a manifest list the one for the sending host. imagectl runs ssh, which
runs imagectl there; neither daemon sees keys. A docker-archive streams between the two. The image keeps its name,
unless DESTINATION names another. Its name there is printed.`,
		Example: `  imagectl copy alpine docker://registry.example.com/alpine:1
  imagectl copy docker://docker.io/library/alpine:3.20 oci:/srv/images/alpine
  imagectl copy localhost/app admin@elsewhere::
  imagectl copy ssh://elsewhere:2222/localhost/app localhost/app:theirs`,
		Args: cobra.RangeArgs(1, 2), ValidArgsFunction: a.completeImages(2),
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.all, "all", "a", false, "of a manifest list copy all images in it")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "no talk and no progress on standard error")
	flags.StringVar(&o.ssh, "ssh", a.streams.Getenv("IMAGECTL_SSH"), "`PROGRAM` that is run as ssh (environment: IMAGECTL_SSH)")
	flags.Lookup("ssh").DefValue = "ssh"
	o.from.addSide(flags, "src-", "source")
	o.to.addSide(flags, "dest-", "destination")
	o.changed = flags.Changed
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		a.quiet = a.quiet || o.quiet
		h, err := parseHop(args)
		switch {
		case err != nil:
			return err
		case h != nil:
			return a.runHop(ctx, h, o)
		case len(args) < 2:
			return usagef("name where to copy it to", "copy wants a destination, unless the source is on another host")
		}
		in, err := o.parameters(a, args)
		if err != nil {
			return err
		}
		return a.withSession(ctx, func(s *session) error { return a.runCopy(ctx, s, in) })
	})
	return cmd
}

func (o *copyOptions) parameters(a *app, args []string) (in transfers.CopyIn, err error) {
	if in.Source, err = place(args[0]); err != nil {
		return in, err
	}
	if in.Destination, err = place(args[1]); err != nil {
		return in, err
	}
	if o.all {
		in.All = &o.all
	}
	if o.changed("src-tls-verify") {
		in.SourceTLSVerify = &o.from.tlsVerify
	}
	if o.changed("dest-tls-verify") {
		in.DestinationTLSVerify = &o.to.tlsVerify
	}
	if in.SourceCredentials, err = o.from.credentials(a.streams); err != nil {
		return in, err
	}
	in.DestinationCredentials, err = o.to.credentials(a.streams)
	return in, err
}

func (a *app) runCopy(ctx context.Context, s *session, in transfers.CopyIn) error {
	subject := in.Source + " to " + in.Destination
	var out transfers.CopyOut
	err := a.finish(ctx, s, transfers.Interface+".Copy", in, &out, work{
		doing: "copying", did: "copied", subject: subject, there: "there", left: "copy of " + subject + " cancelled",
	})
	if err != nil {
		return err
	}
	return a.printDigest(out.Digest, out)
}

// runHop copies an image from one host's store into another's.
func (a *app) runHop(ctx context.Context, h *hop, o *copyOptions) error {
	if o.all || o.from.creds != "" || o.to.creds != "" {
		return usagef("leave them out", "--all, --src-creds and --dest-creds are not for copies over ssh")
	}
	c := &hopper{app: a, hop: h, ssh: o.ssh}
	var err error
	if h.from.remote() && h.to.remote() {
		a.talk("copying %s", escape(c.subject()))
		err = c.copy(ctx)
	} else {
		err = a.withSession(ctx, func(s *session) error {
			c.session = s
			return c.copy(ctx)
		})
	}
	if err != nil {
		return err
	}
	return a.printLoaded(c.loaded)
}

// hopper does one copy between hosts.
type hopper struct {
	app     *app
	hop     *hop
	ssh     string
	session *session // with this host's daemon; nil if neither end is here
	loaded  transfers.LoadOut
}

func (c *hopper) subject() string { return c.hop.from.String() + " to " + c.hop.to.String() }

// copy pipes the archive from one end to the other. If the image is to get another name it is sent by its id: so the
// archive has no name in it that could be taken away from an image over there.
func (c *hopper) copy(ctx context.Context) error {
	name := c.hop.from.image
	if c.hop.to.image != "" {
		var err error
		if name, err = c.id(ctx, name); err != nil {
			return err
		}
	}
	save := func(ctx context.Context, w *os.File) error { return c.save(ctx, name, w) }
	return pipe(ctx, save, c.load)
}

// id finds the id of the image to send.
func (c *hopper) id(ctx context.Context, name string) (string, error) {
	var reply images.GetOut
	var err error
	if from := c.hop.from; from.remote() {
		err = c.app.remoteJSON(ctx, c.ssh, from, nil, &reply, "get", "--", name)
	} else {
		reply, err = c.session.images().Get(ctx, images.GetIn{Name: name})
	}
	return reply.Image.ID, err
}

func (c *hopper) save(ctx context.Context, name string, w *os.File) error {
	if from := c.hop.from; from.remote() {
		_, err := c.app.remote(ctx, c.ssh, from, nil, w, "save", "--format", archiveFormats[0], "--", name)
		return err
	}
	_, err := c.app.save(ctx, c.session, transfers.SaveIn{
		Names: []string{name}, Format: transfers.ArchiveFormatDockerArchive,
	}, w)
	return err
}

func (c *hopper) load(ctx context.Context, r *os.File) (err error) {
	to := c.hop.to
	if !to.remote() {
		c.loaded, err = c.app.load(ctx, c.session, transfers.LoadIn{Name: optional(to.image)}, r, c.hop.from.String())
		return err
	}
	args := []string{"load"}
	if to.image != "" {
		args = append(args, "--name", to.image)
	}
	return c.app.remoteJSON(ctx, c.ssh, to, r, &c.loaded, args...)
}
