package service

import (
	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/varlink/gen/images"
)

func imageOf(i engine.Image) images.Image {
	out := images.Image{
		ID: i.ID, Digest: i.Digest, Digests: i.Digests, Names: i.Names, NamesHistory: i.NamesHistory, Created: stamp(i.Created),
		Size: i.Size, VirtualSize: i.Size, SharedSize: new(i.SharedSize), Parent: optional(i.Parent), TopLayer: optional(i.TopLayer),
		Labels: i.Labels, Containers: int64(i.Containers), Dangling: i.Dangling, Intermediate: i.Intermediate, IsParent: i.IsParent,
		ReadOnly: i.ReadOnly, ManifestList: i.ManifestList,
	}
	if p := i.Platform; p != nil {
		out.Platform = &images.Platform{OS: optional(p.OS), Architecture: optional(p.Architecture), Variant: optional(p.Variant)}
	}
	return out
}

func inspectionOf(i engine.Inspection) images.Inspection {
	out := recode[images.Inspection](imageOf(i.Image))
	if p := out.Platform; p != nil {
		out.OS, out.Architecture, out.Variant = p.OS, p.Architecture, p.Variant
	}
	c := i.Config
	out.Config = images.ImageConfig{
		User: optional(c.User), ExposedPorts: c.ExposedPorts, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Volumes: c.Volumes,
		WorkingDir: optional(c.WorkingDir), Labels: c.Labels, StopSignal: optional(c.StopSignal), OnBuild: c.OnBuild,
	}
	out.Author, out.Comment, out.Layers, out.Annotations = optional(i.Author), optional(i.Comment), i.Layers, i.Annotations
	out.History, out.Driver, out.ManifestType = historyOf(i.History), i.Driver, i.ManifestType
	return out
}

func historyOf(history []engine.HistoryEntry) []images.HistoryEntry {
	var out []images.HistoryEntry
	for _, h := range history {
		out = append(out, images.HistoryEntry{
			ID: optional(h.ID), Created: stamp(h.Created), CreatedBy: h.CreatedBy, Size: h.Size, Comment: h.Comment, Tags: h.Tags, Empty: h.Empty,
		})
	}
	return out
}
