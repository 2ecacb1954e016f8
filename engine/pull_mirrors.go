package engine

import (
	"errors"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/sysregistriesv2"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// mirrorsFailed is where the library tells of the mirrors that it tried before the registry itself, each as
// [reference: error] on a line: of those it keeps the text alone.
const mirrorsFailed = "(Mirrors also failed: "

// mirrorAttempts tells what became of a reference's mirrors, of which a failed attempt's error knows.
func (p *puller) mirrorAttempts(named reference.Named, err error) []errdefs.Attempt {
	raw, ok := errors.AsType[quiet](err)
	if !ok {
		return nil
	}
	_, text, ok := strings.Cut(raw.err.Error(), mirrorsFailed)
	if !ok {
		return nil
	}
	registry, err := sysregistriesv2.FindRegistry(p.systemContext(), named.Name())
	if err != nil || registry == nil {
		return nil
	}
	sources, err := registry.PullSourcesFromReference(named)
	if err != nil {
		return nil
	}
	var attempts []errdefs.Attempt
	for _, source := range sources {
		mirror := source.Reference.String()
		_, reason, ok := strings.Cut(text, "["+mirror+": ")
		if !ok {
			continue
		}
		reason, _, _ = strings.Cut(reason, "]\n[")
		reason, _, _ = strings.Cut(reason, "]): ")
		attempts = append(attempts, errdefs.Attempt{Endpoint: clean(mirror), Error: mirrorError(reason), Reason: clean(reason)})
	}
	return attempts
}

// mirrorError is the name of the error that a mirror's text stands for.
func mirrorError(text string) string {
	for _, known := range []struct{ words, name string }{
		{"manifest unknown", "ReferenceNotFound"},
		{"name unknown", "ReferenceNotFound"},
		{"not known to registry", "ReferenceNotFound"},
		{"authentication required", "AuthenticationRequired"},
		{"unauthorized", "AuthenticationRequired"},
		{"denied", "AccessDenied"},
		{"toomanyrequests", "RateLimited"},
	} {
		if strings.Contains(strings.ToLower(text), known.words) {
			return known.name
		}
	}
	return "RegistryUnreachable"
}
