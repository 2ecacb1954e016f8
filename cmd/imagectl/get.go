package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
)

func newGetCommand(a *app) *cobra.Command {
	var formatText string
	cmd := &cobra.Command{
		Use: "get IMAGE", Short: "Show an image's record",
		Long: `Show one image's record: what images --json shows of it.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeImages(1),
	}
	cmd.Flags().StringVar(&formatText, "format", "", "json, or a Go `template`")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		return a.withSession(ctx, func(s *session) error { return a.runGet(ctx, s, args[0], formatText) })
	})
	return cmd
}

func (a *app) runGet(ctx context.Context, s *session, name, formatText string) error {
	reply, err := s.images().Get(ctx, images.GetIn{Name: name})
	switch {
	case err != nil:
		return err
	case a.json:
		return a.printJSON(reply)
	case formatText == "json":
		return a.printJSON(reply.Image)
	case formatText != "":
		f, err := parseFormat(formatText, nil)
		if err != nil {
			return err
		}
		return f.print(a.streams.Out, true, reply.Image)
	}
	return a.printImage(reply.Image)
}

// printImage shows a record as a list of its facts, those that there are.
func (a *app) printImage(image images.Image) error {
	t := &table{}
	add := func(head, value string) {
		if value != "" {
			t.add(head, value)
		}
	}
	add("ID", image.ID)
	for i, name := range image.Names {
		add(cmp.Or(map[int]string{0: "Names"}[i], " "), name)
	}
	add("Digest", image.Digest)
	add("Created", image.Created+" ("+a.since(image.Created)+")")
	add("Size", fmt.Sprintf("%s (%d bytes)", size3(image.Size), image.Size))
	add("Platform", platformText(image.Platform))
	if image.Parent != nil {
		add("Parent", *image.Parent)
	}
	for i, label := range sortedPairs(image.Labels) {
		add(cmp.Or(map[int]string{0: "Labels"}[i], " "), label)
	}
	add("Containers", fmt.Sprint(image.Containers))
	add("State", strings.Join(imageStates(image), ", "))
	return t.print(a.streams.Out)
}

func imageStates(image images.Image) []string {
	var states []string
	for _, state := range []struct {
		name string
		is   bool
	}{
		{"dangling", image.Dangling},
		{"intermediate", image.Intermediate},
		{"parent of others", image.IsParent},
		{"read-only", image.ReadOnly},
		{"manifest list", image.ManifestList},
	} {
		if state.is {
			states = append(states, state.name)
		}
	}
	return states
}

// sortedPairs gives the pairs of a map as KEY=VALUE, sorted.
func sortedPairs(pairs map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		out = append(out, key+"="+pairs[key])
	}
	return out
}
