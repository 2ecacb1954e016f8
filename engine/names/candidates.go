package names

import (
	"fmt"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/shortnames"
	"github.com/containers/image/v5/types"
)

// Local returns the full references that a reference can mean in the local store, in the order in which they are
// tried: of a short name its alias, localhost/, the search registries and docker.io.
func Local(sys *types.SystemContext, q Query) ([]reference.Named, error) {
	candidates, err := shortnames.ResolveLocally(sys, q.Text)
	if err != nil {
		return nil, fmt.Errorf("short name %s: %w", q.Text, err)
	}
	if docker, err := reference.ParseDockerRef(q.Text); err == nil {
		candidates = append(candidates, docker)
	}
	return candidates, nil
}

// Candidate is a full reference that a name stands for when it is pulled.
type Candidate = shortnames.PullCandidate

// Remote returns the full references that a name stands for when it is pulled, in the order in which they are tried,
// and why. An alias that is to be remembered is, by the candidate's Record, once it was pulled. The error is
// *errdefs.InvalidReference: also where nothing says what a short name stands for.
func Remote(sys *types.SystemContext, name string) (candidates []Candidate, reason string, err error) {
	named, err := parse(name)
	if err != nil {
		return nil, "", err
	}
	resolved, err := shortnames.Resolve(sys, dropTag(named).String())
	if err != nil {
		return nil, "", invalid(name, err)
	}
	reason = strings.TrimSpace(resolved.Description())
	if reason == "" {
		reason = fmt.Sprintf("%q names its registry already", name)
	}
	return resolved.PullCandidates, reason, nil
}
