package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// searchOptions are the flags of search, as podman has them.
type searchOptions struct {
	filters                      []string
	format                       string
	limit                        int64
	listTags, noTrunc, noHeading bool
	registry                     registryFlags
	changed                      func(flag string) bool
}

// descriptionLength is how much of a description people are shown without --no-trunc.
const descriptionLength = 44

func newSearchCommand(a *app) *cobra.Command {
	o := &searchOptions{}
	cmd := &cobra.Command{
		Use: "search TERM", Short: "Search registries, or list the tags of a repository",
		Long: `Search registries for repositories: the one that TERM begins with, else all search registries of the host. With
--list-tags the tags of the repository that TERM names are listed.`,
		Example: `  imagectl search alpine
  imagectl search --filter is-official --filter stars=100 --limit 5 docker.io/alpine
  imagectl search --list-tags registry.example.com/app`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&o.filters, "filter", "f", nil, "show only what has `KEY[=VALUE]`: stars=N or more, is-official[=BOOL], is-automated[=BOOL]; may be given again")
	flags.StringVar(&o.format, "format", "", "json, or a Go `template` for each line; with \"table \" before it, in columns")
	flags.Int64Var(&o.limit, "limit", 25, "most results of a registry")
	flags.BoolVar(&o.listTags, "list-tags", false, "list the tags of the repository")
	flags.BoolVar(&o.noTrunc, "no-trunc", false, "show whole descriptions")
	flags.BoolVarP(&o.noHeading, "noheading", "n", false, "show no heads")
	o.registry.add(flags)
	o.changed = flags.Changed
	completeFilters(cmd, []string{"stars=", "is-official=", "is-automated="})
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		in, err := o.parameters(a, args[0])
		if err != nil {
			return err
		}
		return a.withSession(ctx, func(s *session) error { return a.runSearch(ctx, s, in, o) })
	})
	return cmd
}

func (o *searchOptions) parameters(a *app, term string) (transfers.SearchIn, error) {
	in := transfers.SearchIn{Term: term}
	if o.listTags {
		in.ListTags = &o.listTags
	}
	if o.changed("limit") {
		in.Limit = &o.limit
	}
	if o.changed("tls-verify") {
		in.TLSVerify = &o.registry.tlsVerify
	}
	for _, filter := range o.filters {
		if err := searchFilter(&in, filter); err != nil {
			return in, err
		}
	}
	var err error
	in.Credentials, err = o.registry.credentials(a.streams)
	return in, err
}

// searchFilter puts a filter into the parameters.
func searchFilter(in *transfers.SearchIn, filter string) error {
	key, value, given := strings.Cut(filter, "=")
	wrong := usagef("write stars=N, is-official[=true|false] or is-automated[=true|false]", "--filter %s is no filter of search", filter)
	if key == "stars" {
		stars, err := strconv.ParseInt(value, 10, 64)
		if err != nil || stars < 0 {
			return wrong
		}
		in.Stars = &stars
		return nil
	}
	is := true
	if given {
		var err error
		if is, err = strconv.ParseBool(value); err != nil {
			return wrong
		}
	}
	switch key {
	case "is-official":
		in.Official = &is
	case "is-automated":
		in.Automated = &is
	default:
		return wrong
	}
	return nil
}

// searchRow is one line of search. Its fields are those of podman's --format.
type searchRow struct {
	Index, Name, Tag, Description string
	Stars                         int64
	Official, Automated           string
}

func (a *app) runSearch(ctx context.Context, s *session, in transfers.SearchIn, o *searchOptions) error {
	reply, err := s.transfers().Search(ctx, in)
	switch {
	case err != nil:
		return err
	case a.json:
		return a.printJSON(reply)
	case o.format == "json":
		return a.printJSON(reply.Results)
	}
	rows := make([]searchRow, 0, len(reply.Results))
	for _, result := range reply.Results {
		rows = append(rows, searchRowOf(result, o.noTrunc))
	}
	if o.format != "" {
		f, err := parseFormat(o.format, nil)
		if err != nil {
			return err
		}
		return f.print(a.streams.Out, o.noHeading, anyOf(rows)...)
	}
	return a.printSearch(rows, o)
}

func (a *app) printSearch(rows []searchRow, o *searchOptions) error {
	t := &table{}
	if !o.noHeading {
		if o.listTags {
			t.add("NAME", "TAG")
		} else {
			t.add("NAME", "STARS", "OFFICIAL", "DESCRIPTION")
		}
	}
	for _, row := range rows {
		if o.listTags {
			t.add(row.Name, row.Tag)
			continue
		}
		t.add(row.Name, strconv.FormatInt(row.Stars, 10), row.Official, row.Description)
	}
	return t.print(a.streams.Out)
}

func searchRowOf(result transfers.SearchResult, full bool) searchRow {
	row := searchRow{Index: result.Registry, Name: result.Name, Description: result.Description, Stars: result.Stars}
	if result.Tag != nil {
		row.Tag = *result.Tag
	}
	if result.Official {
		row.Official = "[OK]"
	}
	if result.Automated {
		row.Automated = "[OK]"
	}
	if runes := []rune(row.Description); len(runes) > descriptionLength && !full {
		row.Description = string(runes[:descriptionLength-3]) + "..."
	}
	return row
}
