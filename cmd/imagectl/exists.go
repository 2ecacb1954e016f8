package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
)

func newExistsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "exists IMAGE", Short: "Tell whether an image is in the store",
		Long: `Tell by the exit code whether an image is in the store: 0 if it is, 3 if it is not, and another if that
could not be found out. Nothing is printed, except with --json.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeImages(1),
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		return a.withSession(ctx, func(s *session) error { return a.runExists(ctx, s, args[0]) })
	})
	return cmd
}

func (a *app) runExists(ctx context.Context, s *session, name string) error {
	reply, err := s.images().Exists(ctx, images.ExistsIn{Name: name})
	if err != nil {
		return err
	}
	if a.json {
		if err := a.printJSON(reply); err != nil {
			return err
		}
	}
	if !reply.Exists {
		return silent(exitNotFound)
	}
	return nil
}
