package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/imaged-project/imaged/engine/index"
	"github.com/imaged-project/imaged/engine/names"
)

// InspectOptions say which image will do. The zero value: whatever the name means.
type InspectOptions struct {
	// Platform is what the image must have been made for; of a manifest list its instance is taken. Nil: any.
	Platform *names.Platform
}

// ImageConfig is how a container is run from an image.
type ImageConfig struct {
	// User is the user, or user:group, that processes run as.
	User string
	// ExposedPorts are the ports the image offers, as 80/tcp, sorted.
	ExposedPorts []string
	// Env is the environment, as NAME=value. It may hold secrets: it goes to no log.
	Env []string
	// Entrypoint is the command's fixed first words.
	Entrypoint []string
	// Cmd is the default command, or the entry point's default arguments.
	Cmd []string
	// Volumes are the paths meant to be volumes, sorted.
	Volumes []string
	// WorkingDir is where the command starts.
	WorkingDir string
	// Labels are the labels.
	Labels map[string]string
	// StopSignal is what asks the container to stop.
	StopSignal string
	// OnBuild are the instructions that run when another image is built on it.
	OnBuild []string
}

// Inspection is all that is known of an image.
type Inspection struct {
	Image
	// Author is who made it.
	Author string
	// Comment is that of its newest step, or docker's comment on the whole image.
	Comment string
	// Config is how a container is run from it.
	Config ImageConfig
	// Layers are the digests of the uncompressed layers, base first.
	Layers []string
	// Annotations are the manifest's.
	Annotations map[string]string
	// History are its steps, newest first.
	History []HistoryEntry
	// Driver is the storage driver that holds its layers.
	Driver string
	// ManifestType is the media type of the manifest it is stored with.
	ManifestType string
	// Raw is its configuration as stored, a JSON object; of a manifest list the list.
	Raw []byte
}

// HistoryEntry is one step of an image's making.
type HistoryEntry struct {
	// ID is the image that ended with this step. Empty if the store does not have it.
	ID string
	// Created is when the step was made, in UTC. Zero if it does not say.
	Created time.Time
	// CreatedBy is the instruction or command.
	CreatedBy string
	// Size is how many bytes the step added, uncompressed.
	Size int64
	// Comment is that of its author.
	Comment string
	// Tags are the references of the image that ended with this step.
	Tags []string
	// Empty is true if it made no layer.
	Empty bool
}

// Inspect returns all that is known of an image. Errors: *errdefs.ImageNotFound, AmbiguousName, InvalidReference, and
// Failed if its data is broken.
func (e *Engine) Inspect(ctx context.Context, name string, opts InspectOptions) (Inspection, error) {
	s, f, err := e.find(ctx, name)
	if err != nil {
		return Inspection{}, err
	}
	img, err := forPlatform(s, f, name, opts.Platform)
	if err != nil {
		return Inspection{}, err
	}
	raw, err := img.Raw()
	if err == nil {
		err = errors.Join(img.Facts.Err, isObject(raw))
	}
	if err != nil {
		return Inspection{}, e.vanished(ctx, name, img, err)
	}
	in := Inspection{
		Image: newImage(img), Annotations: img.Facts.Annotations, History: history(s, img),
		Driver: e.store.GraphDriverName(), ManifestType: img.Facts.ManifestType, Raw: raw,
	}
	if c := img.Facts.Config; c != nil {
		in.Author, in.Layers, in.Config = c.Author, c.RootFS.DiffIDs, newConfig(&c.Run)
		in.Comment = c.Comment
		if n := len(c.History); in.Comment == "" && n > 0 {
			in.Comment = c.History[n-1].Comment
		}
	}
	return in, nil
}

// History returns the steps of an image's making, newest first. Errors: *errdefs.ImageNotFound, AmbiguousName,
// InvalidReference, and Failed if its data is broken.
func (e *Engine) History(ctx context.Context, name string) ([]HistoryEntry, error) {
	s, f, err := e.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := f.img.Facts.Err; err != nil {
		return nil, e.vanished(ctx, name, f.img, err)
	}
	return history(s, f.img), nil
}

// history pairs an image's steps with its layers and with the images that they are the last step of.
func history(s *index.Snapshot, img *index.Image) []HistoryEntry {
	c := img.Facts.Config
	if c == nil {
		return nil
	}
	sizes := img.LayerSizes()
	entries := make([]HistoryEntry, 0, len(c.History))
	for i, step := range slices.Backward(c.History) {
		h := HistoryEntry{CreatedBy: step.CreatedBy, Comment: step.Comment, Empty: step.Empty}
		if step.Created != nil {
			h.Created = step.Created.UTC()
		}
		if !step.Empty && len(sizes) > 0 {
			h.Size, sizes = sizes[0], sizes[1:]
		}
		for _, other := range s.AtStep(img, i+1) {
			if h.ID == "" || other == img {
				h.ID = other.ID
			}
			h.Tags = append(h.Tags, other.Names...)
		}
		entries = append(entries, h)
	}
	return entries
}

func newConfig(c *index.RunConfig) ImageConfig {
	return ImageConfig{
		User: c.User, ExposedPorts: slices.Sorted(maps.Keys(c.ExposedPorts)), Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
		Volumes: slices.Sorted(maps.Keys(c.Volumes)), WorkingDir: c.WorkingDir, Labels: c.Labels, StopSignal: c.StopSignal, OnBuild: c.OnBuild,
	}
}

// isObject tells whether data is one JSON object, as whoever passes it on promises.
func isObject(data []byte) error {
	v := jsontext.Value(data)
	if !v.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) || v.Kind() != '{' {
		return errors.New("the stored configuration is no JSON object")
	}
	return nil
}
