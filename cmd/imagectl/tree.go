package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/images"
)

func newTreeCommand(a *app) *cobra.Command {
	whatRequires := false
	cmd := &cobra.Command{
		Use: "tree IMAGE", Short: "Show the layers of an image",
		Long: `Show the layers that an image is built on, the lowest first, and which images end on each. With --whatrequires its topmost
layer is shown, and what is built on that.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeImages(1),
	}
	cmd.Flags().BoolVar(&whatRequires, "whatrequires", false, "show what is built on the image")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		in := images.TreeIn{Name: args[0]}
		if whatRequires {
			in.WhatRequires = &whatRequires
		}
		return a.withSession(ctx, func(s *session) error { return a.runTree(ctx, s, in) })
	})
	return cmd
}

func (a *app) runTree(ctx context.Context, s *session, in images.TreeIn) error {
	reply, err := s.images().Tree(ctx, in)
	switch {
	case err != nil:
		return err
	case a.json:
		return a.printJSON(reply)
	}
	record, err := s.images().Get(ctx, images.GetIn{Name: in.Name})
	if err != nil {
		return err
	}
	t := &table{}
	t.add("Image ID:", short(record.Image.ID, false))
	t.add("Names:", strings.Join(tagged(record.Image.Names), ", "))
	t.add("Size:", size3(record.Image.Size))
	if err := t.print(a.streams.Out); err != nil {
		return err
	}
	return printLayers(a.streams.Out, reply.Layers, newStyle(a.outColour()))
}

// branch is a line of a drawn tree: a layer with the lines that lead to it.
type branch struct {
	lead  string
	layer images.Layer
}

// drawLayers puts layers into the order of a tree, with the lines between them. Where every layer has one on it at most,
// they are a list: nothing branches.
func drawLayers(layers []images.Layer) []branch {
	known, children := map[string]bool{}, map[string][]images.Layer{}
	for _, layer := range layers {
		known[layer.ID] = true
	}
	branches := false
	for _, layer := range layers {
		parent := ""
		if layer.Parent != nil && known[*layer.Parent] && *layer.Parent != layer.ID {
			parent = *layer.Parent
		}
		children[parent] = append(children[parent], layer)
		branches = branches || len(children[parent]) > 1
	}
	if !branches {
		return drawLevel(nil, layers, "", func(images.Layer) []images.Layer { return nil })
	}
	return drawLevel(nil, children[""], "", func(l images.Layer) []images.Layer { return children[l.ID] })
}

func drawLevel(drawn []branch, layers []images.Layer, indent string, children func(images.Layer) []images.Layer) []branch {
	for i, layer := range layers {
		lead, below := "├── ", "│   "
		if i == len(layers)-1 {
			lead, below = "└── ", "    "
		}
		drawn = append(drawn, branch{indent + lead, layer})
		drawn = drawLevel(drawn, children(layer), indent+below, children)
	}
	return drawn
}

// printLayers prints a tree, with its ids, sizes and names in columns.
func printLayers(w io.Writer, layers []images.Layer, s *style) error {
	drawn := drawLayers(layers)
	wide, widest := 0, 0
	for _, b := range drawn {
		wide = max(wide, utf8.RuneCountInString(b.lead))
		widest = max(widest, len(size3(b.layer.Size)))
	}
	for _, b := range drawn {
		line := s.dim(b.lead) + short(b.layer.ID, false) + strings.Repeat(" ", wide-utf8.RuneCountInString(b.lead)) +
			fmt.Sprintf("  %*s", widest, size3(b.layer.Size))
		if names := layerNames(b.layer); names != "" {
			line += "  " + s.bold(escape(names))
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// layerNames tells which images end on a layer.
func layerNames(layer images.Layer) string {
	names := layer.Names
	if len(names) == 0 {
		for _, id := range layer.Images {
			names = append(names, short(id, false))
		}
	} else {
		names = tagged(names)
	}
	return strings.Join(names, ", ")
}

// outColour tells whether standard output gets colours.
func (a *app) outColour() bool {
	return a.streams.OutTerminal != nil && a.streams.Getenv("NO_COLOR") == "" && a.streams.Getenv("TERM") != "dumb"
}
