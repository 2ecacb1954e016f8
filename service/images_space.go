package service

import (
	"context"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/varlink/gen/images"
)

// Prune removes images that nothing uses.
func (s imagesService) Prune(ctx context.Context, in images.PruneIn) (images.PruneOut, error) {
	done, err := s.engine.Prune(ctx, engine.PruneOptions{
		All: value(in.All), External: value(in.External), BuildCache: value(in.BuildCache), Filters: in.Filters,
	})
	if err != nil {
		return images.PruneOut{}, failure(images.Interface, err)
	}
	out := images.PruneOut{Reclaimed: done.Reclaimed}
	for _, p := range done.Removed {
		out.Removed = append(out.Removed, images.Pruned{ID: p.ID, Names: p.Names, Size: p.Size})
	}
	return out, nil
}

// DiskUsage tells how much space images take.
func (s imagesService) DiskUsage(ctx context.Context, _ images.DiskUsageIn) (images.DiskUsageOut, error) {
	usage, err := s.engine.DiskUsage(ctx)
	out := images.DiskUsageOut{Total: usage.Total, Reclaimable: usage.Reclaimable}
	for _, u := range usage.Images {
		out.Images = append(out.Images, images.Usage{
			ID: u.ID, Names: u.Names, Size: u.Size, Shared: u.Shared, Unique: u.Unique, Containers: int64(u.Containers),
		})
	}
	return out, failure(images.Interface, err)
}
