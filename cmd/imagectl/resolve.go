package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
)

func newResolveCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "resolve NAME", Short: "Show what a short name stands for",
		Long: `Show the full references that a short name stands for when it is pulled, in the order in which they are
tried, and on standard error why.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		return a.withSession(ctx, func(s *session) error { return a.runResolve(ctx, s, args[0]) })
	})
	return cmd
}

func (a *app) runResolve(ctx context.Context, s *session, name string) error {
	reply, err := s.images().Resolve(ctx, images.ResolveIn{Name: name})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(reply)
	}
	a.talk("%s", escape(reply.Reason))
	for _, reference := range reply.References {
		if err := a.println(reference); err != nil {
			return err
		}
	}
	return nil
}
