package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// pushOptions are the flags of push, as podman has them.
type pushOptions struct {
	all, removeSignatures, forceCompression, detach, quiet bool
	format, compression, signBy, digestFile                string
	level                                                  int64
	retry                                                  retryFlags
	registry                                               registryFlags
	changed                                                func(flag string) bool
}

// What --format and --compression-format of push know, as podman writes it.
var (
	manifestFormats = []string{"oci", "v2s1", "v2s2"}
	compressions    = []string{"gzip", "zstd", "zstd:chunked"}
)

func newPushCommand(a *app) *cobra.Command {
	o := &pushOptions{}
	cmd := &cobra.Command{
		Use: "push IMAGE [DESTINATION]", Short: "Push an image to a registry",
		Long: `Push an image, or a manifest list, to a registry, by default under its own name. The digest of the pushed manifest is
printed.

^C hangs up, which cancels the push. With --detach it goes on without imagectl; then the id of the job is
printed, and imagectl attach JOB shows it again.`,
		Example: `  imagectl push registry.example.com/app:1
  imagectl push localhost/app registry.example.com/app:1
  imagectl push --compression-format zstd --digestfile digest.txt registry.example.com/app:1
  imagectl push --tls-verify=false localhost/app localhost:5000/app`,
		Args: cobra.RangeArgs(1, 2), ValidArgsFunction: a.completeImages(1),
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.all, "all", false, "of a manifest list push the images in it, too")
	flags.StringVarP(&o.format, "format", "f", "", "format of the manifest: oci, v2s1 or v2s2; by default the one it has")
	flags.BoolVar(&o.removeSignatures, "remove-signatures", false, "leave signatures behind")
	flags.StringVar(&o.signBy, "sign-by", "", "sign with the `KEY` that the daemon's user has")
	flags.StringVar(&o.compression, "compression-format", "", "compress layers with gzip, zstd or zstd:chunked")
	flags.Int64Var(&o.level, "compression-level", 0, "`LEVEL` of the compression, as its format counts it")
	flags.BoolVar(&o.forceCompression, "force-compression", false, "compress layers anew even if the registry has them in another compression")
	flags.StringVar(&o.digestFile, "digestfile", "", "write the digest to `FILE`, too")
	flags.BoolVar(&o.detach, "detach", false, "let the daemon go on alone, and print the job's id")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "no talk and no progress on standard error")
	o.retry.add(flags)
	o.registry.add(flags)
	o.changed = flags.Changed
	cmd.MarkFlagsMutuallyExclusive("detach", "digestfile")
	completeWords(cmd, "format", manifestFormats)
	completeWords(cmd, "compression-format", compressions)
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		a.quiet = a.quiet || o.quiet
		in, err := o.parameters(a, args)
		if err != nil {
			return err
		}
		return a.withSession(ctx, func(s *session) error { return a.runPush(ctx, s, in, o) })
	})
	return cmd
}

// parameters makes the call's parameters. What no flag says is left to the daemon.
func (o *pushOptions) parameters(a *app, args []string) (transfers.PushIn, error) {
	in := transfers.PushIn{Name: args[0], SignBy: optional(o.signBy)}
	if len(args) > 1 {
		destination, err := absolutePlace(args[1])
		if err != nil {
			return in, err
		}
		in.Destination = &destination
	}
	if o.format != "" && !slices.Contains(manifestFormats, o.format) {
		return in, usagef("choose oci, v2s1 or v2s2", "--format %s is unknown", o.format)
	}
	in.Format = transfers.ManifestFormat(o.format)
	if o.compression != "" && !slices.Contains(compressions, o.compression) {
		return in, usagef("choose gzip, zstd or zstd:chunked", "--compression-format %s is unknown", o.compression)
	}
	in.CompressionFormat = transfers.Compression(strings.ReplaceAll(o.compression, ":", "_"))
	for flag, set := range map[string]func(){
		"all":               func() { in.All = &o.all },
		"remove-signatures": func() { in.RemoveSignatures = &o.removeSignatures },
		"force-compression": func() { in.ForceCompression = &o.forceCompression },
		"compression-level": func() { in.CompressionLevel = &o.level },
		"tls-verify":        func() { in.TLSVerify = &o.registry.tlsVerify },
		"detach":            func() { in.Detach = &o.detach },
	} {
		if o.changed(flag) {
			set()
		}
	}
	in.Retries, in.RetryDelaySeconds, in.StallTimeoutSeconds = o.retry.parameters()
	var err error
	in.Credentials, err = o.registry.credentials(a.streams)
	return in, err
}

func (a *app) runPush(ctx context.Context, s *session, in transfers.PushIn, o *pushOptions) error {
	subject := in.Name
	if in.Destination != nil {
		subject += " to " + *in.Destination
	}
	w := work{
		doing: "pushing", did: "pushed", subject: subject, there: "there",
		left: fmt.Sprintf("push of %s cancelled: hung up; it goes on only if another client watches the job", subject),
	}
	if o.detach {
		return a.detach(ctx, s, transfers.Interface+".Push", in, w)
	}
	var out transfers.PushOut
	if err := a.finish(ctx, s, transfers.Interface+".Push", in, &out, w); err != nil {
		return err
	}
	if out.Digest != nil && o.digestFile != "" {
		if err := writeDigest(o.digestFile, *out.Digest); err != nil {
			return err
		}
	}
	return a.printDigest(out.Digest, out)
}

// printDigest prints a digest, or the reply it came in.
func (a *app) printDigest(digest *string, reply any) error {
	switch {
	case a.json:
		return a.printJSON(reply)
	case digest == nil:
		return nil
	}
	return a.println(*digest)
}

func writeDigest(path, digest string) error {
	file, err := newOutFile(path)
	if err != nil {
		return err
	}
	_, err = file.WriteString(digest)
	return file.finish(outputError(path, err))
}

// completeWords lets a flag complete to one of some words.
func completeWords(cmd *cobra.Command, flag string, words []string) {
	// The flag is there, and gets no other function.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}
