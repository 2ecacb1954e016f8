package main

import (
	"bufio"
	"context"
	"io"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
)

// pruneOptions are the flags of prune, as podman has them.
type pruneOptions struct {
	all, external, buildCache, force bool
	filters                          []string
}

// answerLimit bounds what is read as an answer, in bytes.
const answerLimit = 1 << 10

func newPruneCommand(a *app) *cobra.Command {
	o := &pruneOptions{}
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove images that nothing uses",
		Long: `Remove images that nothing uses: those without a name, or with --all those that no container uses. The ids of what
was removed are printed. On a terminal you are asked before, elsewhere --force must be given.
` + filterHelp,
		Example: `  imagectl prune
  imagectl prune --all --force --filter until=240h`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.all, "all", "a", false, "remove every image that no container uses")
	flags.BoolVar(&o.external, "external", false, "remove images that only containers left by builds use, with those containers")
	flags.BoolVar(&o.buildCache, "build-cache", false, "remove what builds keep for their caches, too")
	flags.BoolVarP(&o.force, "force", "f", false, "do not ask")
	flags.StringArrayVar(&o.filters, "filter", nil, "remove only images with `KEY=VALUE` or KEY!=VALUE; may be given again")
	completeFilters(cmd, imageFilters)
	cmd.RunE = a.run(func(ctx context.Context, _ []string) error {
		if err := a.confirmPrune(o); err != nil {
			return err
		}
		return a.withSession(ctx, func(s *session) error { return a.runPrune(ctx, s, o) })
	})
	return cmd
}

// confirmPrune asks, unless that is not wanted.
func (a *app) confirmPrune(o *pruneOptions) error {
	if o.force {
		return nil
	}
	if a.streams.InTerminal == nil {
		return usagef("give --force", "there is no terminal to ask on whether images are to be removed")
	}
	what := "all images without a name that nothing uses"
	if o.all {
		what = "all images that no container uses"
	}
	if o.buildCache {
		what += ", and the build cache"
	}
	say(a.streams.Err, "This removes %s. Go on? [y/N] ", what)
	answer, err := bufio.NewReader(io.LimitReader(a.streams.In, answerLimit)).ReadString('\n')
	if err == nil && strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		return nil
	}
	return &failure{code: exitFailed, what: "nothing was removed"}
}

func (a *app) runPrune(ctx context.Context, s *session, o *pruneOptions) error {
	in := images.PruneIn{Filters: o.filters}
	for flag, parameter := range map[*bool]**bool{&o.all: &in.All, &o.external: &in.External, &o.buildCache: &in.BuildCache} {
		if *flag {
			*parameter = flag
		}
	}
	reply, err := s.images().Prune(ctx, in)
	switch {
	case err != nil:
		return err
	case a.json:
		return a.printJSON(reply)
	}
	for _, pruned := range reply.Removed {
		if err := a.println(pruned.ID); err != nil {
			return err
		}
	}
	a.talk("removed %s, %s came free", english.Plural(len(reply.Removed), "image", ""), size(reply.Reclaimed))
	return nil
}
