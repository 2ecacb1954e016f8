package engine

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containers/image/v5/manifest"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifestHeader is what manifests of today have in common.
type manifestHeader struct {
	SchemaVersion int    `json:"schemaVersion"`
	MediaType     string `json:"mediaType"`
	Config        *struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	} `json:"config"`
	Layers []struct {
		Size int64 `json:"size"`
	} `json:"layers"`
	Manifests []struct {
		Size int64 `json:"size"`
	} `json:"manifests"`
}

// modern are the types of manifest that say of themselves what they are. Older ones are checked by the library alone.
var modern = []string{
	ociv1.MediaTypeImageManifest, ociv1.MediaTypeImageIndex, manifest.DockerV2Schema2MediaType, manifest.DockerV2ListMediaType,
}

// check refuses a manifest that is not what the registry calls it, or that the library would take although it lacks what
// it must have, or its numbers make no sense: whoever reads it by another of its names must not find another image.
func (m readManifest) check() error {
	if !slices.Contains(modern, m.mime) {
		return nil
	}
	var h manifestHeader
	if err := json.Unmarshal(m.bytes, &h); err != nil {
		return err
	}
	switch {
	case h.SchemaVersion != 2:
		return fmt.Errorf("its schemaVersion is %d, not 2", h.SchemaVersion)
	case h.MediaType != "" && h.MediaType != m.mime:
		return fmt.Errorf("it says that it is of type %q, the registry that it is of type %q", h.MediaType, m.mime)
	case !manifest.MIMETypeIsMultiImage(m.mime) && (h.Config == nil || h.Config.Digest == ""):
		return fmt.Errorf("it has no configuration")
	case h.Config != nil && h.Config.Size < 0:
		return fmt.Errorf("the size of its configuration is %d", h.Config.Size)
	}
	for _, l := range slices.Concat(h.Layers, h.Manifests) {
		if l.Size < 0 {
			return fmt.Errorf("the size of a part is %d", l.Size)
		}
	}
	return nil
}
