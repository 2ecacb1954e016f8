package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/info"
)

func newInfoCommand(a *app) *cobra.Command {
	var formatText string
	cmd := &cobra.Command{
		Use: "info", Short: "Show the daemon's version, store and limits",
		Long: `Show what the daemon is, where its store is and what it holds, where its configuration comes from, and its
limits.`,
		Example: `  imagectl info
  imagectl info --format '{{.Store.GraphRoot}}'`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&formatText, "format", "f", "", "json, or a Go `template`")
	cmd.RunE = a.run(func(ctx context.Context, _ []string) error {
		return a.withSession(ctx, func(s *session) error { return a.runInfo(ctx, s, formatText) })
	})
	return cmd
}

// report is the three replies of io.imaged.info.
type report struct {
	Version info.GetVersionOut `json:"version"`
	Store   info.GetStoreOut   `json:"store"`
	Limits  []info.Limit       `json:"limits"`
}

func (a *app) runInfo(ctx context.Context, s *session, formatText string) error {
	var r report
	var err error
	client := s.info()
	if r.Version, err = client.GetVersion(ctx, info.GetVersionIn{}); err != nil {
		return err
	}
	if r.Store, err = client.GetStore(ctx, info.GetStoreIn{}); err != nil {
		return err
	}
	limits, err := client.GetLimits(ctx, info.GetLimitsIn{})
	if err != nil {
		return err
	}
	r.Limits = limits.Limits
	switch {
	case a.json || formatText == "json":
		return a.printJSON(r)
	case formatText != "":
		f, err := parseFormat(formatText, nil)
		if err != nil {
			return err
		}
		return f.print(a.streams.Out, true, r)
	}
	return r.print(a, s.private != nil)
}

// print shows the report as sections of facts.
func (r *report) print(a *app, private bool) error {
	t := &table{}
	t.add("Version", strings.TrimSpace(r.Version.Version+" "+r.Version.Commit), r.Version.Go)
	if private {
		t.add("Daemon", "started for this command alone")
	}
	for i, name := range r.Version.API {
		t.add(cmp.Or(map[int]string{0: "Interfaces"}[i], " "), name)
	}
	if err := t.print(a.streams.Out); err != nil {
		return err
	}
	for _, section := range []struct {
		title string
		rows  [][]string
	}{{"Store", r.storeRows()}, {"Configuration", r.sourceRows()}, {"Limits", r.limitRows()}} {
		if _, err := fmt.Fprintf(a.streams.Out, "\n%s\n", section.title); err != nil {
			return err
		}
		if err := (&table{rows: section.rows}).print(a.streams.Out); err != nil {
			return err
		}
	}
	return nil
}

func (r *report) storeRows() [][]string {
	s := r.Store
	rights := "root"
	if s.Rootless {
		rights = "rootless"
	}
	return [][]string{
		{"  Driver", s.Driver},
		{"  Folder", s.GraphRoot},
		{"  Run state", s.RunRoot},
		{"  Temporary files", s.TmpDir},
		{"  Images", fmt.Sprint(s.Images)},
		{"  Layers", fmt.Sprint(s.Layers)},
		{"  Disk", size(s.Used) + " used, " + size(s.Free) + " free"},
		{"  Rights", rights + ", isolation " + s.Isolation},
		{"  Short names", cmp.Or(strings.Join(s.Registries, ", "), "no registry to look them up in")},
	}
}

func (r *report) sourceRows() [][]string {
	var rows [][]string
	for _, source := range r.Store.Sources {
		path := "built in: the host has no file"
		if source.Path != nil {
			path = *source.Path
		}
		rows = append(rows, []string{"  " + source.Name, path})
	}
	return rows
}

func (r *report) limitRows() [][]string {
	var rows [][]string
	for _, limit := range r.Limits {
		value := fmt.Sprint(limit.Value) + " " + limit.Unit
		if limit.Unit == "bytes" {
			value = size(limit.Value)
		}
		rows = append(rows, []string{"  " + limit.Name, value, limit.Description})
	}
	return rows
}
