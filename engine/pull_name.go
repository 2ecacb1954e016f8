package engine

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/shortnames"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
)

// The transports that a reference may name.
const (
	transportRegistry      = "docker"
	transportDockerArchive = "docker-archive"
	transportOCIArchive    = "oci-archive"
	transportOCI           = "oci"
	transportDir           = "dir"
)

var (
	pathTransports    = []string{transportDockerArchive, transportOCIArchive, transportOCI, transportDir}
	refusedTransports = []string{"atomic", "containers-storage", "docker-daemon", "ostree", "sif", "tarball"}
)

// pullSource is what a pull's reference means.
type pullSource struct {
	text      string // as it was given
	transport string

	name  string // registry: the name without its transport, tag dropped if there is a digest
	full  bool   // registry: the name begins with docker://, so it is no short name
	byID  bool   // registry: the name is an image id, which no registry knows
	named reference.Named

	path string // other transports
	item string // other transports: which image there, empty for the only one
}

// parsePullSource reads a pull's reference.
func parsePullSource(text string) (*pullSource, error) {
	invalid := func(reason string) error {
		return &errdefs.InvalidReference{Reference: clean(text), Reason: reason}
	}
	if text == "" || len(text) > names.MaxLength {
		return nil, invalid(fmt.Sprintf("it is empty, or longer than %d bytes", names.MaxLength))
	}
	s := &pullSource{text: text, transport: transportRegistry}
	prefix, rest, _ := strings.Cut(text, ":")
	if slices.Contains(pathTransports, prefix) {
		s.transport = prefix
		s.path, s.item, _ = strings.Cut(rest, ":")
		if !filepath.IsAbs(s.path) {
			return nil, invalid("its path is not absolute")
		}
		return s, nil
	}
	s.name, s.full = strings.CutPrefix(text, "docker://")
	if slices.Contains(refusedTransports, prefix) || strings.Contains(s.name, "://") {
		return nil, invalid("a pull knows the transports docker://, docker-archive:, oci-archive:, oci: and dir: alone")
	}
	if id := strings.TrimPrefix(s.name, "sha256:"); !s.full && len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" {
		s.byID = true
		return s, nil
	}
	named, err := reference.ParseNormalizedNamed(s.name)
	if err != nil {
		return nil, invalid(err.Error())
	}
	s.named = named
	if _, ok := named.(reference.Digested); ok && !reference.IsNameOnly(named) {
		s.dropTag()
	}
	return s, nil
}

// dropTag takes the tag away from a name that has a digest too: the digest alone says which image is meant.
func (s *pullSource) dropTag() {
	name, digest, _ := strings.Cut(s.name, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name = name[:colon]
	}
	s.name = name + "@" + digest
}

// localName is what to look for in the store.
func (s *pullSource) localName() string {
	if s.full {
		return reference.TagNameOnly(s.named).String()
	}
	return s.name
}

// check holds the options against the reference.
func (s *pullSource) check(o *PullOptions) error {
	switch {
	case s.transport != transportRegistry && !o.AllowPath:
		return &errdefs.PermissionDenied{Reason: "only the daemon's own user may name a path"}
	case s.transport != transportRegistry && o.AllTags:
		return &errdefs.InvalidParameter{Parameter: "allTags", Reason: "only a registry's repository has tags"}
	case s.byID && o.AllTags, o.AllTags && !reference.IsNameOnly(s.named):
		return &errdefs.InvalidParameter{Parameter: "reference", Reason: "with allTags it must be a repository's name, without tag and digest"}
	case s.byID && o.Policy == PullAlways:
		return &errdefs.InvalidReference{Reference: s.text, Reason: "it is an image's id, which no registry knows"}
	}
	return nil
}

// candidates returns the full references that a name may stand for, in the order in which to try them. A name that may
// stand for several is refused if the host's configuration wants someone to be asked, or if credentials are
// given: they are for one registry.
func (s *pullSource) candidates(sys *types.SystemContext, withCredentials bool) ([]reference.Named, error) {
	if s.full {
		named, err := reference.ParseNormalizedNamed(s.name)
		if err != nil {
			return nil, &errdefs.InvalidReference{Reference: clean(s.text), Reason: err.Error(), Err: err}
		}
		return []reference.Named{reference.TagNameOnly(named)}, nil
	}
	mode, err := sysregistriesv2.GetShortNameMode(sys)
	if err != nil {
		return nil, &errdefs.Failed{Reason: "registries.conf: " + clean(err.Error()), Err: err}
	}
	all := *sys
	all.ShortNameMode = new(types.ShortNameModeDisabled) // never asks at a terminal, and says all there are
	resolved, err := shortnames.Resolve(&all, s.name)
	if err != nil {
		return nil, &errdefs.InvalidReference{Reference: clean(s.text), Reason: clean(err.Error()), Err: err}
	}
	var list []reference.Named
	var texts []string
	for _, c := range resolved.PullCandidates {
		named := reference.TagNameOnly(c.Value)
		list, texts = append(list, named), append(texts, named.String())
	}
	if len(list) > 1 && (withCredentials || mode == types.ShortNameModeEnforcing) {
		return nil, &errdefs.AmbiguousName{Name: s.text, Candidates: texts}
	}
	return list, nil
}
