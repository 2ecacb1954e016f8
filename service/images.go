package service

import (
	"context"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
)

// One reply of a streamed List holds at most so many images; the first one fewer, so that there is something to show at
// once. It ends earlier once their labels have so many bytes: those come from whoever made the image, and a reply that is
// too long for a message would keep everybody from all images.
const (
	firstBatch = 20
	batch      = 100
	batchBytes = 1 << 20
)

// imagesService is io.imaged.images.
type imagesService struct{ engine *engine.Engine }

// List lists images.
func (s imagesService) List(ctx context.Context, in images.ListIn, send func(images.ListOut) error) (images.ListOut, error) {
	more := varlink.CallFrom(ctx).WantsMore()
	var out images.ListOut
	most, size := firstBatch, 0
	for image, err := range s.engine.List(ctx, engine.ListOptions{All: value(in.All), Filters: in.Filters}) {
		if err != nil {
			return out, failure(images.Interface, err)
		}
		if more && (len(out.Images) == most || size > batchBytes) {
			if err := send(out); err != nil {
				return out, err
			}
			out.Images, most, size = make([]images.Image, 0, batch), batch, 0
		}
		out.Images = append(out.Images, imageOf(image))
		for name, text := range image.Labels {
			size += len(name) + len(text)
		}
	}
	return out, nil
}

// Get gets one image's record.
func (s imagesService) Get(ctx context.Context, in images.GetIn) (images.GetOut, error) {
	image, err := s.engine.Get(ctx, in.Name)
	return images.GetOut{Image: imageOf(image)}, failure(images.Interface, err)
}

// Inspect gets everything known of one image.
func (s imagesService) Inspect(ctx context.Context, in images.InspectIn) (images.InspectOut, error) {
	o := engine.InspectOptions{}
	if p := in.Platform; p != nil {
		o.Platform = &names.Platform{OS: value(p.OS), Architecture: value(p.Architecture), Variant: value(p.Variant)}
	}
	i, err := s.engine.Inspect(ctx, in.Name, o)
	if err != nil {
		return images.InspectOut{}, failure(images.Interface, err)
	}
	return images.InspectOut{Image: inspectionOf(i), Raw: strict(i.Raw)}, nil
}

// Exists tells whether there is an image.
func (s imagesService) Exists(ctx context.Context, in images.ExistsIn) (images.ExistsOut, error) {
	exists, err := s.engine.Exists(ctx, in.Name)
	return images.ExistsOut{Exists: exists}, failure(images.Interface, err)
}

// Resolve tells what a short name stands for.
func (s imagesService) Resolve(ctx context.Context, in images.ResolveIn) (images.ResolveOut, error) {
	r, err := s.engine.Resolve(ctx, in.Name)
	return images.ResolveOut{References: r.References, Reason: r.Reason}, failure(images.Interface, err)
}

// History gets the steps of an image's making.
func (s imagesService) History(ctx context.Context, in images.HistoryIn) (images.HistoryOut, error) {
	h, err := s.engine.History(ctx, in.Name)
	return images.HistoryOut{Layers: historyOf(h)}, failure(images.Interface, err)
}

// Tag adds names to an image.
func (s imagesService) Tag(ctx context.Context, in images.TagIn) (images.TagOut, error) {
	return images.TagOut{}, failure(images.Interface, s.engine.Tag(ctx, in.Name, in.Tags))
}

// Untag takes names away from an image.
func (s imagesService) Untag(ctx context.Context, in images.UntagIn) (images.UntagOut, error) {
	return images.UntagOut{}, failure(images.Interface, s.engine.Untag(ctx, in.Name, in.Tags))
}

// Remove removes images.
func (s imagesService) Remove(ctx context.Context, in images.RemoveIn) (images.RemoveOut, error) {
	results, err := s.engine.Remove(ctx, in.Names, engine.RemoveOptions{
		All: value(in.All), Force: value(in.Force), Ignore: value(in.Ignore), LookupManifest: value(in.LookupManifest), NoPrune: value(in.NoPrune),
	})
	if err != nil {
		return images.RemoveOut{}, failure(images.Interface, err)
	}
	if len(in.Names) == 1 && len(results) == 1 && results[0].Err != nil {
		return images.RemoveOut{}, failure(images.Interface, results[0].Err)
	}
	var out images.RemoveOut
	for _, r := range results {
		out.Results = append(out.Results, removalOf(r))
	}
	return out, nil
}

func removalOf(r engine.Removal) images.Removal {
	out := images.Removal{Name: errdefs.Redact(r.Name), ID: optional(r.ID), Untagged: r.Untagged, Deleted: r.Deleted}
	if r.Err != nil {
		out.Error, out.Reason = new(errorName(images.Interface+".Remove", r.Err)), new(message(r.Err))
	}
	return out
}
