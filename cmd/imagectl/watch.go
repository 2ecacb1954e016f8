package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
)

// watchOptions are the flags of watch, as podman's events has them.
type watchOptions struct {
	filters []string
	format  string
	noTrunc bool
}

func newWatchCommand(a *app) *cobra.Command {
	o := &watchOptions{}
	cmd := &cobra.Command{
		Use: "watch", Short: "Watch what happens to images",
		Long: `Watch what happens to images, by whomever: what other programs do in the same store is seen, too. There is one line an event,
and with --json each reply on a line of its own, the first of which says ready.

It goes on until ^C, which as ever ends it with code 130.`,
		Example: `  imagectl watch
  imagectl watch --filter event=pulled --filter event=removed --format '{{.Event}} {{.Name}}'
  imagectl --json watch --filter image=alpine`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&o.filters, "filter", "f", nil, "show only events with `KEY=VALUE`: event=KIND or image=NAME, or with != those without; may be given again")
	flags.StringVar(&o.format, "format", "", "json, or a Go `template` for each line")
	flags.BoolVar(&o.noTrunc, "no-trunc", false, "show whole ids")
	completeFilters(cmd, []string{"event=", "image="})
	cmd.RunE = a.run(func(ctx context.Context, _ []string) error {
		return a.withSession(ctx, func(s *session) error { return a.runWatch(ctx, s, o) })
	})
	return cmd
}

// eventRow is what a template of watch sees: the interface's fields, and podman's names for some of them.
type eventRow struct {
	Time, Event, ID, Name, Error, Reason string
	Status, Type                         string
}

func (a *app) runWatch(ctx context.Context, s *session, o *watchOptions) error {
	var f *format
	if o.format != "" && o.format != "json" {
		var err error
		if f, err = parseFormat(o.format, nil); err != nil {
			return err
		}
	}
	print := a.eventPrinter(f, o)
	for reply, err := range s.client.Stream(ctx, images.Interface+".Watch", images.WatchIn{Filters: o.filters}) {
		if ended(ctx, err) {
			return silent(exitInterrupted)
		}
		if err != nil {
			return err
		}
		if err := print(reply); err != nil {
			return err
		}
	}
	return nil
}

// eventPrinter gives the function that prints one reply.
func (a *app) eventPrinter(f *format, o *watchOptions) func(varlink.Reply) error {
	s := newStyle(a.outColour())
	return func(reply varlink.Reply) error {
		var event images.WatchOut
		if err := varlink.Unmarshal(reply.Parameters, &event); err != nil {
			return fmt.Errorf("reply: %w", err)
		}
		switch {
		case a.json, o.format == "json" && event.Event != "":
			return writeJSON(a.streams.Out, json.RawMessage(reply.Parameters), false)
		case event.Event == "":
			a.talk("watching")
			return nil
		case f != nil:
			return f.print(a.streams.Out, false, eventRowOf(event, o.noTrunc))
		}
		_, err := fmt.Fprintln(a.streams.Out, eventLine(s, eventRowOf(event, o.noTrunc)))
		return err
	}
}

func eventRowOf(event images.WatchOut, full bool) eventRow {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	return eventRow{
		Time: text(event.Time), Event: string(event.Event), ID: short(text(event.ID), full), Name: text(event.Name),
		Error: text(event.Error), Reason: text(event.Reason), Status: string(event.Event), Type: "image",
	}
}

// eventLine is an event for people.
func eventLine(s *style, row eventRow) string {
	kind := fmt.Sprintf("%-11s", escape(row.Event))
	switch images.EventKind(row.Event) {
	case images.EventKindPullFailed, images.EventKindRemoved:
		kind = s.red(kind)
	case images.EventKindTagged, images.EventKindUntagged, images.EventKindMounted, images.EventKindUnmounted:
	default:
		kind = s.green(kind)
	}
	line := fmt.Sprintf("%s  %s  %-*s  %s", s.dim(escape(row.Time)), kind, shortLength, escape(row.ID), escape(row.Name))
	if row.Reason != "" {
		line += "  " + escape(row.Reason)
	}
	return line
}
