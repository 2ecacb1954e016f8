package main

import (
	"cmp"
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
)

// historyOptions are the flags of history, as podman has them.
type historyOptions struct {
	human, noTrunc, ids bool
	format              string
}

// createdByLength is how much of an instruction people are shown without --no-trunc.
const createdByLength = 45

func newHistoryCommand(a *app) *cobra.Command {
	o := &historyOptions{}
	cmd := &cobra.Command{
		Use: "history IMAGE", Short: "Show the steps of an image's making",
		Long: `Show the steps of an image's making, newest first.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeImages(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.format, "format", "", "json, or a Go `template` for each line; with \"table \" before it, in columns")
	flags.BoolVar(&o.noTrunc, "no-trunc", false, "show whole ids and instructions")
	flags.BoolVarP(&o.ids, "quiet", "q", false, "show ids alone")
	flags.BoolVarP(&o.human, "human", "H", true, "show sizes and times as people write them")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		return a.withSession(ctx, func(s *session) error { return a.runHistory(ctx, s, args[0], o) })
	})
	return cmd
}

// historyRow is one line of history. Its fields are those of podman's --format.
type historyRow struct {
	ID, Created, CreatedAt, CreatedSince, CreatedBy, Size, Comment string
	Tags                                                           []string
}

func (a *app) runHistory(ctx context.Context, s *session, name string, o *historyOptions) error {
	reply, err := s.images().History(ctx, images.HistoryIn{Name: name})
	switch {
	case err != nil:
		return err
	case a.json:
		return a.printJSON(reply)
	case o.format == "json":
		return a.printJSON(reply.Layers)
	}
	rows := make([]historyRow, 0, len(reply.Layers))
	for _, entry := range reply.Layers {
		rows = append(rows, a.historyRow(entry, o))
	}
	if o.format != "" {
		f, err := parseFormat(o.format, nil)
		if err != nil {
			return err
		}
		return f.print(a.streams.Out, false, anyOf(rows)...)
	}
	t := &table{}
	if !o.ids {
		t.add("ID", "CREATED", "CREATED BY", "SIZE", "COMMENT")
	}
	for _, row := range rows {
		if o.ids {
			t.add(row.ID)
			continue
		}
		t.add(row.ID, row.Created, row.CreatedBy, row.Size, row.Comment)
	}
	return t.print(a.streams.Out)
}

func (a *app) historyRow(entry images.HistoryEntry, o *historyOptions) historyRow {
	row := historyRow{
		ID: "<missing>", Created: entry.Created, CreatedAt: entry.Created, CreatedSince: a.since(entry.Created),
		CreatedBy: entry.CreatedBy, Size: strconv.FormatInt(entry.Size, 10), Comment: entry.Comment, Tags: entry.Tags,
	}
	if entry.ID != nil {
		row.ID = short(cmp.Or(*entry.ID, row.ID), o.noTrunc)
	}
	if o.human {
		row.Created, row.Size = row.CreatedSince, size3(entry.Size)
	}
	if runes := []rune(row.CreatedBy); len(runes) > createdByLength && !o.noTrunc {
		row.CreatedBy = string(runes[:createdByLength-3]) + "..."
	}
	return row
}
