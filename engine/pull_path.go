package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/containers/image/v5/docker/reference"

	"github.com/imaged-project/imaged/engine/archives"
	"github.com/imaged-project/imaged/engine/errdefs"
)

// kindsOf are the kinds of archive that a transport stands for. Newer archives of docker are of both of its kinds.
var kindsOf = map[string][]archives.Kind{
	transportDockerArchive: {archives.DockerArchive, archives.OCIArchive},
	transportOCIArchive:    {archives.OCIArchive, archives.DockerArchive},
	transportOCI:           {archives.OCIDir},
	transportDir:           {archives.DockerDir},
}

// pullPath brings an image of an archive or a folder into the store, under the names that it has there.
func (p *puller) pullPath(ctx context.Context) (result PullResult, err error) {
	archive, err := p.openArchive(ctx)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	image, err := archive.Find(p.source.item)
	if err != nil {
		return result, err
	}
	named, err := p.archiveNames(image)
	if err != nil {
		return result, err
	}
	for _, name := range named {
		err := p.attempt(ctx, origin{reference: clean(p.source.text)}, func(a *attempt) error {
			a.local = true
			a.guard.timeout = 0 // nothing to wait for
			id, err := a.pull(image.Reference(), name, nil)
			if err != nil {
				return err
			}
			text := "sha256:" + id
			if name != nil {
				text = name.String()
			}
			result.IDs, result.Names = append(result.IDs, id), append(result.Names, text)
			return nil
		})
		if err != nil {
			return PullResult{}, err
		}
	}
	return result, nil
}

// openArchive opens what the reference's path names.
func (p *puller) openArchive(ctx context.Context) (*archives.Archive, error) {
	archive, err := archives.OpenPath(ctx, p.source.path, archives.Options{
		TmpDir: p.e.tmp.path, Platform: p.systemContext(), Limits: p.e.archiveLimits,
	})
	if _, ok := errors.AsType[*fs.PathError](err); ok && !errdefs.Known(err) {
		return nil, &errdefs.InvalidReference{Reference: clean(p.source.text), Reason: clean(err.Error()), Err: quiet{err}}
	}
	if err != nil {
		return nil, p.e.classify(err, origin{reference: clean(p.source.text)})
	}
	if kinds := kindsOf[p.source.transport]; !slices.Contains(kinds, archive.Kind()) {
		err := &errdefs.InvalidArchive{Reason: fmt.Sprintf("%s: it is of kind %s", clean(p.source.text), archive.Kind())}
		return nil, errors.Join(err, archive.Close())
	}
	return archive, nil
}

// archiveNames returns the names that the image gets: the one that was asked for if it is one of its names, else all;
// a nil one if it has none.
func (p *puller) archiveNames(image *archives.Image) ([]reference.Named, error) {
	var all []reference.Named
	for _, text := range image.Names() {
		named, err := reference.ParseNormalizedNamed(text)
		if err != nil {
			return nil, damaged("name", err)
		}
		all = append(all, named)
	}
	if asked, err := reference.ParseNormalizedNamed(p.source.item); err == nil {
		asked = reference.TagNameOnly(asked)
		if slices.ContainsFunc(all, func(n reference.Named) bool { return n.String() == asked.String() }) {
			return []reference.Named{asked}, nil
		}
	}
	if len(all) == 0 {
		all = []reference.Named{nil}
	}
	return all, nil
}
