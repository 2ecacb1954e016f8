package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
)

func newDiffCommand(a *app) *cobra.Command {
	formatText := ""
	cmd := &cobra.Command{
		Use: "diff IMAGE [IMAGE]", Short: "Show which paths of an image differ",
		Long: `Show which paths of an image differ from what lies below its topmost layer, or from another image: one line each, with A
for added, C for changed and D for deleted.`,
		Example: `  imagectl diff localhost/app
  imagectl diff --format '{{.Path}}' localhost/app:2 localhost/app:1`,
		Args: cobra.RangeArgs(1, 2), ValidArgsFunction: a.completeImages(2),
	}
	cmd.Flags().StringVar(&formatText, "format", "", "json, or a Go `template` for each line, of .Path, .Kind and .Letter")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		in := images.DiffIn{Name: args[0]}
		if len(args) > 1 {
			in.Other = &args[1]
		}
		return a.withSession(ctx, func(s *session) error { return a.runDiff(ctx, s, in, formatText) })
	})
	return cmd
}

// changeRow is one line of diff.
type changeRow struct {
	Path, Kind, Letter string
}

// changeLists is the JSON of diff, as podman has it.
type changeLists struct {
	Changed []string `json:"changed,omitzero"`
	Added   []string `json:"added,omitzero"`
	Deleted []string `json:"deleted,omitzero"`
}

func (a *app) runDiff(ctx context.Context, s *session, in images.DiffIn, formatText string) error {
	if !a.json && formatText != "json" {
		return a.printDiff(ctx, s, in, formatText)
	}
	all := images.DiffOut{Changes: []images.Change{}}
	var lists changeLists
	for batch, err := range s.images().DiffStream(ctx, in) {
		if err != nil {
			return err
		}
		all.Changes = append(all.Changes, batch.Changes...)
	}
	if a.json {
		return a.printJSON(all)
	}
	for _, change := range all.Changes {
		list := map[images.ChangeKind]*[]string{
			images.ChangeKindAdded: &lists.Added, images.ChangeKindChanged: &lists.Changed, images.ChangeKindDeleted: &lists.Deleted,
		}[change.Kind]
		if list != nil {
			*list = append(*list, change.Path)
		}
	}
	return a.printJSON(lists)
}

// printDiff prints the changes as they come.
func (a *app) printDiff(ctx context.Context, s *session, in images.DiffIn, formatText string) error {
	f := &format{}
	if formatText != "" {
		var err error
		if f, err = parseFormat(formatText, nil); err != nil {
			return err
		}
	}
	out := bufio.NewWriter(a.streams.Out)
	first := true
	for batch, err := range s.images().DiffStream(ctx, in) {
		if err != nil {
			return err
		}
		rows := make([]any, 0, len(batch.Changes))
		for _, change := range batch.Changes {
			rows = append(rows, changeRow{change.Path, string(change.Kind), changeLetter(change.Kind)})
		}
		if err := printChanges(out, f, !first, rows); err != nil {
			return err
		}
		first = false
	}
	return out.Flush()
}

func printChanges(out *bufio.Writer, f *format, noHeading bool, rows []any) error {
	if f.template != nil {
		return f.print(out, noHeading, rows...)
	}
	for _, row := range rows {
		change := row.(changeRow)
		if _, err := fmt.Fprintf(out, "%s %s\n", change.Letter, escape(change.Path)); err != nil {
			return err
		}
	}
	return nil
}

func changeLetter(kind images.ChangeKind) string {
	switch kind {
	case images.ChangeKindAdded:
		return "A"
	case images.ChangeKindDeleted:
		return "D"
	}
	return "C"
}
