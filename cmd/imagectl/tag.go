package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
)

func newTagCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "tag IMAGE NAME...", Short: "Add names to an image",
		Long: `Add names to an image. A name without a registry gets localhost/, one without a tag gets :latest.
A name that meant another image moves.`,
		Args: cobra.MinimumNArgs(2), ValidArgsFunction: a.completeImages(1),
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		return a.withSession(ctx, func(s *session) error {
			reply, err := s.images().Tag(ctx, images.TagIn{Name: args[0], Tags: args[1:]})
			return a.printEmpty(reply, err)
		})
	})
	return cmd
}

func newUntagCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "untag IMAGE [NAME...]", Short: "Take names away from an image",
		Long: `Take names away from an image: those given, or all that it has. The image stays.`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeImages(0),
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		return a.withSession(ctx, func(s *session) error {
			reply, err := s.images().Untag(ctx, images.UntagIn{Name: args[0], Tags: args[1:]})
			return a.printEmpty(reply, err)
		})
	})
	return cmd
}

// printEmpty ends a command whose reply holds nothing: only --json prints it.
func (a *app) printEmpty(reply any, err error) error {
	if err != nil || !a.json {
		return err
	}
	return a.printJSON(reply)
}
