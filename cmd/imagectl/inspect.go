package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
)

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	format   string
	platform platformFlags
}

func newInspectCommand(a *app) *cobra.Command {
	o := &inspectOptions{}
	cmd := &cobra.Command{
		Use: "inspect IMAGE...", Short: "Show everything known of images",
		Long: `Show everything known of images, as a JSON array.
With --json each image is one reply of the interface, which holds its configuration as stored (raw) too.`,
		Example: `  imagectl inspect alpine
  imagectl inspect --format '{{json .Config.Env}}' alpine
  imagectl inspect --format '{{.Architecture}}' alpine`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeImages(0),
	}
	cmd.Flags().StringVarP(&o.format, "format", "f", "", "json, or a Go `template` for each image")
	o.platform.add(cmd.Flags(), "inspect only an image for")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		return a.withSession(ctx, func(s *session) error { return a.runInspect(ctx, s, args, o) })
	})
	return cmd
}

// inspection is what a template of inspect sees: the interface's fields, and podman's names for some of them.
type inspection struct {
	images.Inspection
	//lint:ignore ST1003 podman's templates spell it so
	Id                        string
	Os, User, Author, Comment string
	RepoTags, RepoDigests     []string
	RootFS                    struct {
		Type   string
		Layers []string
	}
	GraphDriver struct{ Name string }
	Raw         string
}

func (a *app) runInspect(ctx context.Context, s *session, names []string, o *inspectOptions) error {
	platform, err := o.platform.parse()
	if err != nil {
		return err
	}
	in := images.InspectIn{}
	if platform != nil {
		in.Platform = &images.Platform{OS: platform.os, Architecture: platform.architecture, Variant: platform.variant}
	}
	var found []images.Inspection
	var rows []any
	var errs []error
	for _, name := range names {
		in.Name = name
		reply, err := s.images().Inspect(ctx, in)
		switch {
		case errors.Is(err, varlink.ErrClosed) || ended(ctx, err):
			return all(append(errs, err))
		case err != nil:
			errs = append(errs, err)
			continue
		case a.json:
			if err := a.printJSON(reply); err != nil {
				return err
			}
		}
		found = append(found, reply.Image)
		rows = append(rows, inspectionOf(reply))
	}
	if !a.json && len(found) > 0 {
		if err := a.printInspections(found, rows, o.format); err != nil {
			return err
		}
	}
	return all(errs)
}

func inspectionOf(reply images.InspectOut) inspection {
	row := inspection{
		Inspection: reply.Image, Id: reply.Image.ID,
		RepoTags: []string{}, RepoDigests: repoDigests(reply.Image.Names, reply.Image.Digests), Raw: string(reply.Raw),
		Os: deref(reply.Image.OS), User: deref(reply.Image.Config.User),
		Author: deref(reply.Image.Author), Comment: deref(reply.Image.Comment),
	}
	row.RootFS.Type, row.RootFS.Layers = "layers", reply.Image.Layers
	row.GraphDriver.Name = reply.Image.Driver
	for _, name := range reply.Image.Names {
		if !strings.Contains(name, "@") {
			row.RepoTags = append(row.RepoTags, name)
		}
	}
	return row
}

func (a *app) printInspections(found []images.Inspection, rows []any, formatText string) error {
	if formatText == "" || formatText == "json" {
		return writeJSON(a.streams.Out, found, true)
	}
	f, err := parseFormat(formatText, nil)
	if err != nil {
		return err
	}
	return f.print(a.streams.Out, false, rows...)
}
