package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
)

// imagesOptions are the flags of images, as podman has them.
type imagesOptions struct {
	all, noTrunc, ids, noHeading, digests, history bool
	filters                                        []string
	format, sort                                   string
}

func newImagesCommand(a *app) *cobra.Command {
	o := &imagesOptions{}
	cmd := &cobra.Command{
		Use: "images [IMAGE]", Aliases: []string{"ls", "list"}, Short: "List images",
		Long: `List the images of the store, newest first, one line a name.
With IMAGE only those that it names; it may hold wildcards, as --filter reference= takes them.
` + filterHelp,
		Example: `  imagectl images
  imagectl images --filter dangling=true -q
  imagectl images --filter label=team=web --filter 'reference!=*/test/*'
  imagectl images --format 'table {{.Repository}} {{.Tag}} {{.Size}}'`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeImages(1),
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.all, "all", "a", false, "show intermediate images too")
	flags.StringArrayVarP(&o.filters, "filter", "f", nil, "show only images with `KEY=VALUE` or KEY!=VALUE; may be given again")
	flags.StringVar(&o.format, "format", "", "json, or a Go `template` for each line; with \"table \" before it, in columns")
	flags.BoolVar(&o.noTrunc, "no-trunc", false, "show whole ids")
	flags.BoolVarP(&o.ids, "quiet", "q", false, "show ids alone")
	flags.BoolVarP(&o.noHeading, "noheading", "n", false, "show no heads")
	flags.BoolVar(&o.digests, "digests", false, "show digests")
	flags.BoolVar(&o.history, "history", false, "show names that the images had before")
	flags.StringVar(&o.sort, "sort", "created", "sort by created, id, repository, size or tag")
	completeWords(cmd, "sort", slices.Sorted(maps.Keys(imageOrders)))
	completeFilters(cmd, imageFilters)
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		for _, pattern := range args {
			if slices.ContainsFunc(o.filters, func(filter string) bool { return strings.HasPrefix(filter, "reference=") }) {
				return usagef("give one of them", "IMAGE and --filter reference= both say which names to show")
			}
			o.filters = append(o.filters, "reference="+pattern)
		}
		return a.withSession(ctx, func(s *session) error { return a.runImages(ctx, s, o) })
	})
	return cmd
}

func (a *app) runImages(ctx context.Context, s *session, o *imagesOptions) error {
	less, ok := imageOrders[o.sort]
	if !ok {
		return usagef("choose created, id, repository, size or tag", "--sort %s is unknown", o.sort)
	}
	list := images.ListOut{Images: []images.Image{}}
	for batch, err := range s.images().ListStream(ctx, images.ListIn{All: &o.all, Filters: o.filters}) {
		if err != nil {
			return err
		}
		list.Images = append(list.Images, batch.Images...)
	}
	switch {
	case a.json:
		return a.printJSON(list)
	case o.format == "json":
		return a.printJSON(list.Images)
	case o.ids:
		return a.printIDs(list.Images, o.noTrunc)
	}
	rows := a.imageRows(list.Images, o.noTrunc)
	slices.SortStableFunc(rows, less)
	if o.format != "" {
		f, err := parseFormat(o.format, map[string]string{"ID": "IMAGE ID", "ReadOnly": "R/O"})
		if err != nil {
			return err
		}
		return f.print(a.streams.Out, o.noHeading, anyOf(rows)...)
	}
	return a.printImages(rows, o)
}

func (a *app) printIDs(list []images.Image, full bool) error {
	for _, image := range list {
		id := short(image.ID, full)
		if full {
			id = "sha256:" + id
		}
		if err := a.println(id); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printImages(rows []imageRow, o *imagesOptions) error {
	t := &table{}
	showReadOnly := slices.ContainsFunc(rows, func(r imageRow) bool { return r.ReadOnly })
	line := func(r imageRow, readOnly string) []string {
		cells := []string{r.Repository, r.Tag}
		if o.digests {
			cells = append(cells, r.Digest)
		}
		cells = append(cells, r.ID, r.CreatedSince, r.Size)
		if showReadOnly {
			cells = append(cells, readOnly)
		}
		if o.history {
			cells = append(cells, r.History)
		}
		return cells
	}
	if !o.noHeading {
		t.add(line(imageRow{Repository: "REPOSITORY", Tag: "TAG", Digest: "DIGEST", ID: "IMAGE ID", CreatedSince: "CREATED", Size: "SIZE", History: "HISTORY"}, "R/O")...)
	}
	for _, row := range rows {
		t.add(line(row, map[bool]string{true: "true", false: ""}[row.ReadOnly])...)
	}
	return t.print(a.streams.Out)
}

// imageRow is one line of images: an image under one of its names. Its fields are those of podman's --format.
type imageRow struct {
	ID, Repository, Tag, Digest                   string
	Created, CreatedSince, CreatedAt, CreatedTime string
	Size, Platform, Arch, Os, History             string
	//lint:ignore ST1003 podman's templates spell them so
	Id, ParentId                        string
	Names, RepoTags, RepoDigests        []string
	NamesHistory                        []string
	Labels                              map[string]string
	Containers, VirtualSize, SharedSize int64
	Dangling, Intermediate, IsParent    bool
	ReadOnly, IsManifestList            bool
	// Image is the whole record.
	Image images.Image
}

// imageRows makes the lines: one a tag, and one for an image without any.
func (a *app) imageRows(list []images.Image, full bool) []imageRow {
	rows := make([]imageRow, 0, len(list))
	for _, image := range list {
		row := imageRow{
			ID: short(image.ID, full), Digest: cmp.Or(image.Digest, "<none>"),
			CreatedSince: a.since(image.Created), CreatedAt: utc(image.Created), CreatedTime: utc(image.Created),
			Size: size3(image.Size), VirtualSize: image.VirtualSize, SharedSize: deref(image.SharedSize),
			Id: image.ID, ParentId: deref(image.Parent), Platform: platformText(image.Platform), Image: image,
			Names: image.Names, RepoDigests: repoDigests(image.Names, image.Digests),
			History: strings.Join(image.NamesHistory, ", "), NamesHistory: image.NamesHistory, Labels: image.Labels, Containers: image.Containers,
			Dangling: image.Dangling, Intermediate: image.Intermediate, IsParent: image.IsParent,
			ReadOnly: image.ReadOnly, IsManifestList: image.ManifestList,
		}
		if p := image.Platform; p != nil {
			row.Os, row.Arch = deref(p.OS), deref(p.Architecture)
		}
		row.Created = row.CreatedSince
		if full {
			row.ID = "sha256:" + row.ID
		}
		names := tagged(image.Names)
		row.RepoTags = names
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

// tagged leaves out the names by digest where there are names by tag, as podman does.
func tagged(names []string) []string {
	tags := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.Contains(name, "@") })
	if len(tags) == 0 && len(names) > 0 {
		return names[:1]
	}
	return tags
}

// repoDigests are the references by digest of an image: each of its repositories with each digest that it is known by.
func repoDigests(names, digests []string) []string {
	refs := []string{}
	for _, name := range names {
		repository, _ := splitName(name)
		for _, digest := range digests {
			refs = append(refs, repository+"@"+digest)
		}
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// deref gives what a pointer points to, and the zero value for none.
func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

// splitName splits a normalised reference at its tag; parts that it lacks are <none>.
func splitName(name string) (repository, tag string) {
	name, _, byDigest := strings.Cut(name, "@")
	slash := strings.LastIndexByte(name, '/')
	if colon := strings.LastIndexByte(name, ':'); colon > slash && !byDigest {
		return name[:colon], name[colon+1:]
	}
	return cmp.Or(name, "<none>"), "<none>"
}

func platformText(p *images.Platform) string {
	if p == nil {
		return ""
	}
	var parts []string
	for _, part := range []*string{p.OS, p.Architecture, p.Variant} {
		if part != nil && *part != "" {
			parts = append(parts, *part)
		}
	}
	return strings.Join(parts, "/")
}

// imageOrders are what --sort knows. Created keeps the daemon's order: newest first.
var imageOrders = map[string]func(x, y imageRow) int{
	"created":    func(imageRow, imageRow) int { return 0 },
	"id":         func(x, y imageRow) int { return strings.Compare(x.Image.ID, y.Image.ID) },
	"repository": func(x, y imageRow) int { return strings.Compare(x.Repository, y.Repository) },
	"size":       func(x, y imageRow) int { return cmp.Compare(x.Image.Size, y.Image.Size) },
	"tag":        func(x, y imageRow) int { return strings.Compare(x.Tag, y.Tag) },
}

func anyOf[T any](list []T) []any {
	out := make([]any, len(list))
	for i, item := range list {
		out[i] = item
	}
	return out
}
