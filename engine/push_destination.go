package engine

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	ocilayout "github.com/containers/image/v5/oci/layout"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
)

// destination is where an image is pushed to.
type destination struct {
	text  string                // as it was given
	named reference.NamedTagged // in a registry; nil: at a path

	format ArchiveFormat // at a path
	path   string
	item   string // name there, in OCI's formats any text; empty: the image's references
}

// pathFormats are the forms that the transports of paths stand for.
var pathFormats = map[string]ArchiveFormat{
	transportDockerArchive: DockerArchive, transportOCIArchive: OCIArchive, transportOCI: OCIDir, transportDir: DockerDir,
}

// parseDestination reads where an image is to be pushed.
func parseDestination(text string) (*destination, error) {
	invalid := func(reason string) error {
		return &errdefs.InvalidReference{Reference: clean(text), Reason: reason}
	}
	if len(text) > names.MaxLength {
		return nil, invalid(fmt.Sprintf("it is longer than %d bytes", names.MaxLength))
	}
	d := &destination{text: text}
	prefix, rest, _ := strings.Cut(text, ":")
	if format, ok := pathFormats[prefix]; ok {
		d.format = format
		d.path, d.item, _ = strings.Cut(rest, ":")
		if !filepath.IsAbs(d.path) {
			return nil, invalid("its path is not absolute")
		}
		return d, nil
	}
	name := strings.TrimPrefix(text, transportRegistry+"://")
	if slices.Contains(refusedTransports, prefix) || strings.Contains(name, "://") {
		return nil, invalid("a push knows the transports docker://, docker-archive:, oci-archive:, oci: and dir: alone")
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, invalid(clean(err.Error()))
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if _, digested := named.(reference.Digested); !ok || digested {
		return nil, invalid("an image is pushed under a tag: its digest comes of itself")
	}
	d.named = tagged
	return d, nil
}

// check holds the options against the destination.
func (d *destination) check(o *PushOptions) error {
	if d.named != nil {
		return nil
	}
	switch {
	case !o.AllowPath:
		return &errdefs.PermissionDenied{Reason: "only the daemon's own user may name a path"}
	case o.All:
		return &errdefs.InvalidParameter{Parameter: "all", Reason: "all images of a manifest list go to a registry only"}
	case d.item != "" && d.format == DockerDir:
		return &errdefs.InvalidReference{Reference: clean(d.text), Reason: "a folder of dir: has no reference"}
	}
	if d.format == OCIArchive || d.format == OCIDir {
		_, err := ocilayout.NewReference(d.path, d.item)
		if err != nil {
			return &errdefs.InvalidReference{Reference: clean(d.text), Reason: clean(err.Error()), Err: quiet{err}}
		}
		return nil
	}
	_, err := d.tag()
	return err
}

// tag returns the reference that the image is to have in a docker-archive; nil: its own. It is completed as everybody
// does who reads that transport, not as a name of the store.
func (d *destination) tag() (reference.NamedTagged, error) {
	if d.item == "" || d.format != DockerArchive {
		return nil, nil
	}
	named, err := reference.ParseNormalizedNamed(d.item)
	if err != nil {
		return nil, &errdefs.InvalidReference{Reference: clean(d.item), Reason: clean(err.Error()), Err: quiet{err}}
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if _, digested := named.(reference.Digested); !ok || digested {
		return nil, &errdefs.InvalidReference{Reference: clean(d.item), Reason: "it has no tag, or a digest"}
	}
	return tagged, nil
}
