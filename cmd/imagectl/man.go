package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newManCommand is for packagers: it writes the manual pages that make install puts in place.
func newManCommand(a *app, root *cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: "man DIR", Short: "Write imagectl's manual pages into a folder", Hidden: true, Args: cobra.ExactArgs(1),
	}
	cmd.RunE = a.run(func(_ context.Context, args []string) error {
		if err := os.MkdirAll(args[0], 0o755); err != nil {
			return fmt.Errorf("manual: %w", err)
		}
		root.DisableAutoGenTag = true
		header := &doc.GenManHeader{Title: "IMAGECTL", Section: "1", Source: "imaged", Manual: "imaged"}
		if err := doc.GenManTree(root, header, args[0]); err != nil {
			return fmt.Errorf("manual: %w", err)
		}
		return nil
	})
	return cmd
}
