package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// pullOptions are the flags of pull, as podman has them.
type pullOptions struct {
	allTags, detach, quiet bool
	policy                 string
	retry                  retryFlags
	platform               platformFlags
	registry               registryFlags
	changed                func(flag string) bool
}

func newPullCommand(a *app) *cobra.Command {
	o := &pullOptions{}
	cmd := &cobra.Command{
		Use: "pull REFERENCE...", Short: "Pull images from a registry",
		Long: `Pull images into the store. The id of each is printed, one a line.

^C hangs up, which cancels the pull unless another client watches the same job: two equal
pulls by one user are one job. With --detach the pull goes on without imagectl; then the
id of the job is printed, and imagectl attach JOB shows it again.`,
		Example: `  imagectl pull alpine
  imagectl pull --platform linux/arm64 docker.io/library/alpine:3.20
  imagectl pull --tls-verify=false localhost:5000/sample:latest
  echo "$PASSWORD" | imagectl pull --creds user --password-stdin registry.example.com/app`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.allTags, "all-tags", "a", false, "pull every tag of the repository")
	flags.StringVar(&o.policy, "policy", "always", "when to pull: always, missing, newer or never")
	o.retry.add(flags)
	flags.BoolVar(&o.detach, "detach", false, "let the daemon go on alone, and print the job's id")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "no talk and no progress on standard error")
	o.platform.add(flags, "pull the image for")
	o.registry.add(flags)
	o.changed = flags.Changed
	completeWords(cmd, "policy", []string{"always", "missing", "newer", "never"})
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		a.quiet = a.quiet || o.quiet
		in, err := o.parameters(a)
		if err != nil {
			return err
		}
		return a.withSession(ctx, func(s *session) error { return a.runPull(ctx, s, args, in) })
	})
	return cmd
}

// parameters makes the call's parameters, the reference aside. What no flag says is left to the daemon.
func (o *pullOptions) parameters(a *app) (transfers.PullIn, error) {
	in := transfers.PullIn{}
	if o.changed("policy") {
		switch policy := transfers.PullPolicy(o.policy); policy {
		case transfers.PullPolicyAlways, transfers.PullPolicyMissing, transfers.PullPolicyNewer, transfers.PullPolicyNever:
			in.Policy = policy
		default:
			return in, usagef("choose always, missing, newer or never", "--policy %s is unknown", o.policy)
		}
	}
	if o.allTags {
		in.AllTags = &o.allTags
	}
	if o.detach {
		in.Detach = &o.detach
	}
	in.Retries, in.RetryDelaySeconds, in.StallTimeoutSeconds = o.retry.parameters()
	platform, err := o.platform.parse()
	if err != nil {
		return in, err
	}
	if platform != nil {
		in.Platform = &transfers.Platform{OS: platform.os, Architecture: platform.architecture, Variant: platform.variant}
	}
	if o.changed("tls-verify") {
		in.TLSVerify = &o.registry.tlsVerify
	}
	in.Credentials, err = o.registry.credentials(a.streams)
	return in, err
}

// runPull pulls one reference after the other. A failure does not keep the others from being pulled.
func (a *app) runPull(ctx context.Context, s *session, references []string, in transfers.PullIn) error {
	if in.Detach != nil {
		return a.runDetached(ctx, s, references, in)
	}
	var errs []error
	for _, reference := range references {
		var err error
		if in.Reference, err = absolutePlace(reference); err == nil {
			err = a.pull(ctx, s, in)
		}
		if err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil || errors.Is(err, varlink.ErrClosed) {
			break
		}
	}
	return all(errs)
}

func (a *app) pull(ctx context.Context, s *session, in transfers.PullIn) error {
	var out transfers.PullOut
	if err := a.finish(ctx, s, transfers.Interface+".Pull", in, &out, pullWork(in.Reference)); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(out)
	}
	return a.printLines(out.IDs)
}

// runDetached starts the pulls and leaves each once its job is known. Leaving closes the connection, so that
// each has its own.
func (a *app) runDetached(ctx context.Context, s *session, references []string, in transfers.PullIn) error {
	var errs []error
	for i, reference := range references {
		var err error
		if in.Reference, err = absolutePlace(reference); err != nil {
			return err
		}
		start := func(s *session) error {
			return a.detach(ctx, s, transfers.Interface+".Pull", in, pullWork(reference))
		}
		if i == 0 {
			err = start(s)
		} else {
			err = a.withSession(ctx, start)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return all(errs)
}

func pullWork(reference string) work {
	return work{
		doing: "pulling", did: "pulled", subject: reference,
		left: fmt.Sprintf("pull of %s cancelled: hung up; it goes on only if another client watches the same job", reference),
	}
}
