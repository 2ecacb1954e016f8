package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/info"
)

// dfOptions are the flags of df, as podman's system df has them.
type dfOptions struct {
	verbose, noTrunc bool
	format           string
}

func newDFCommand(a *app) *cobra.Command {
	o := &dfOptions{}
	cmd := &cobra.Command{
		Use: "df", Short: "Show how much space images take",
		Long: `Show how much space images take, and how much would come free if those that no container uses were removed. With
--verbose each image is shown: shared are the layers that other images use too, unique is what only this image uses.`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "show each image")
	flags.BoolVar(&o.noTrunc, "no-trunc", false, "show whole ids")
	flags.StringVar(&o.format, "format", "", "json, or a Go `template` for each line; with \"table \" before it, in columns")
	cmd.RunE = a.run(func(ctx context.Context, _ []string) error {
		return a.withSession(ctx, func(s *session) error { return a.runDF(ctx, s, o) })
	})
	return cmd
}

// dfRow is the line for all images. Its fields are those of podman's --format.
type dfRow struct {
	Type                    string
	Total, Active           int
	Size, Reclaimable       string
	RawSize, RawReclaimable int64
}

// usageRow is the line for one image under one of its names. Its fields are those of podman's --format.
type usageRow struct {
	Repository, Tag, ImageID, Created string
	Size, SharedSize, UniqueSize      string
	Containers                        int64
	// Usage is the whole record.
	Usage images.Usage
}

func (a *app) runDF(ctx context.Context, s *session, o *dfOptions) error {
	reply, err := s.images().DiskUsage(ctx, images.DiskUsageIn{})
	switch {
	case err != nil:
		return err
	case a.json:
		return a.printJSON(reply)
	case o.format == "json" && o.verbose:
		return a.printJSON(reply.Images)
	case o.format == "json":
		return a.printJSON([]dfRow{summary(reply)})
	}
	rows := []any{summary(reply)}
	var created map[string]string
	if o.verbose {
		if created, err = creationTimes(ctx, s); err != nil {
			return err
		}
		rows = anyOf(a.usageRows(reply.Images, created, o.noTrunc))
	}
	if o.format != "" {
		f, err := parseFormat(o.format, nil)
		if err != nil {
			return err
		}
		return f.print(a.streams.Out, false, rows...)
	}
	if o.verbose {
		return a.printUsage(rows)
	}
	return a.printDF(ctx, s, reply)
}

func summary(reply images.DiskUsageOut) dfRow {
	row := dfRow{
		Type: "Images", Total: len(reply.Images), Size: size3(reply.Total), Reclaimable: size3(reply.Reclaimable),
		RawSize: reply.Total, RawReclaimable: reply.Reclaimable,
	}
	for _, usage := range reply.Images {
		if usage.Containers > 0 {
			row.Active++
		}
	}
	if reply.Total > 0 {
		row.Reclaimable += fmt.Sprintf(" (%d%%)", int(100*ratio(reply.Reclaimable, reply.Total)))
	}
	return row
}

// ratio is part of whole, from 0 to 1.
func ratio(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return max(0, min(1, float64(part)/float64(whole)))
}

// creationTimes gives the time that each image was made, by its id.
func creationTimes(ctx context.Context, s *session) (map[string]string, error) {
	times := map[string]string{}
	for batch, err := range s.images().ListStream(ctx, images.ListIn{All: new(true)}) {
		if err != nil {
			return nil, err
		}
		for _, image := range batch.Images {
			times[image.ID] = image.Created
		}
	}
	return times, nil
}

func (a *app) usageRows(list []images.Usage, created map[string]string, full bool) []usageRow {
	rows := make([]usageRow, 0, len(list))
	for _, usage := range list {
		row := usageRow{
			ImageID: short(usage.ID, full), Created: a.since(created[usage.ID]), Containers: usage.Containers,
			Size: size3(usage.Size), SharedSize: size3(usage.Shared), UniqueSize: size3(usage.Unique), Usage: usage,
		}
		names := tagged(usage.Names)
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			row.Repository, row.Tag = splitName(name)
			rows = append(rows, row)
		}
	}
	return rows
}

func (a *app) printUsage(rows []any) error {
	t := &table{}
	t.add("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS")
	for _, row := range rows {
		r := row.(usageRow)
		t.add(r.Repository, r.Tag, r.ImageID, r.Created, r.Size, r.SharedSize, r.UniqueSize, strconv.FormatInt(r.Containers, 10))
	}
	return t.print(a.streams.Out)
}

// printDF prints the sum, and on a terminal how much of the disk it is.
func (a *app) printDF(ctx context.Context, s *session, reply images.DiskUsageOut) error {
	row := summary(reply)
	t := &table{}
	t.add("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE")
	t.add(row.Type, strconv.Itoa(row.Total), strconv.Itoa(row.Active), row.Size, row.Reclaimable)
	if err := t.print(a.streams.Out); err != nil || a.streams.OutTerminal == nil {
		return err
	}
	store, err := s.info().GetStore(ctx, info.GetStoreIn{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(a.streams.Out, diskLine(newStyle(a.outColour()), reply.Total, store))
	return err
}

// diskLine draws how full the store's disk is.
func diskLine(s *style, taken int64, store info.GetStoreOut) string {
	disk := store.Used + store.Free
	return fmt.Sprintf("\nDisk   %s %d%% in use, %s free, %d%% of it all is images\n",
		s.drawBar(ttyBar, ratio(store.Used, disk)), int(100*ratio(store.Used, disk)), size(store.Free), int(100*ratio(taken, disk)))
}
