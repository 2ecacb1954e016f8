package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
)

func newRemoveCommand(a *app) *cobra.Command {
	in := images.RemoveIn{}
	var everything, force, ignore, noPrune, lookupManifest bool
	cmd := &cobra.Command{
		Use: "rm IMAGE...", Aliases: []string{"rmi"}, Short: "Remove images",
		Long: `Remove images, or only the names given where an image has others. What was taken away is printed, one line
each. With several names each is tried.`,
		Example: `  imagectl rm localhost/test
  imagectl rm $(imagectl images -q --filter dangling=true)`,
		ValidArgsFunction: a.completeImages(0),
		Args: func(_ *cobra.Command, args []string) error {
			if everything == (len(args) > 0) {
				return usagef("name images, or give --all alone", "rm wants either names of images or --all")
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&everything, "all", "a", false, "remove every image of the store")
	flags.BoolVarP(&force, "force", "f", false, "remove images that containers use, with those containers, and images with several names")
	flags.BoolVarP(&ignore, "ignore", "i", false, "an unknown name is no error")
	flags.BoolVar(&noPrune, "no-prune", false, "keep untagged parents of a removed image")
	flags.BoolVar(&lookupManifest, "lookup-manifest", false, "a name that means a manifest list removes that list")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		in.Names = args
		for flag, parameter := range map[*bool]**bool{
			&everything: &in.All, &force: &in.Force, &ignore: &in.Ignore, &noPrune: &in.NoPrune, &lookupManifest: &in.LookupManifest,
		} {
			if *flag {
				*parameter = flag
			}
		}
		return a.withSession(ctx, func(s *session) error { return a.runRemove(ctx, s, in) })
	})
	return cmd
}

func (a *app) runRemove(ctx context.Context, s *session, in images.RemoveIn) error {
	reply, err := s.images().Remove(ctx, in)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(reply)
	} else {
		err = a.printRemovals(reply.Results)
	}
	if err != nil {
		return err
	}
	return a.removalErrors(reply.Results)
}

func (a *app) printRemovals(results []images.Removal) error {
	for _, result := range results {
		for _, name := range result.Untagged {
			if err := a.println("Untagged: " + name); err != nil {
				return err
			}
		}
		for _, id := range result.Deleted {
			if err := a.println("Deleted: " + id); err != nil {
				return err
			}
		}
	}
	return nil
}

// removalErrors makes errors of the results that hold one. With --json they stand in the reply already, and only the
// exit code tells of them.
func (a *app) removalErrors(results []images.Removal) error {
	var errs []error
	for _, result := range results {
		if result.Error == nil {
			continue
		}
		code := exitCodeOf(*result.Error)
		if a.json {
			return silent(code)
		}
		reason := *result.Error
		if result.Reason != nil {
			reason = cmp.Or(*result.Reason, reason)
		}
		errs = append(errs, &failure{code: code, what: reason})
	}
	return all(errs)
}
