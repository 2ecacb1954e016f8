package names

import (
	"fmt"
	"strings"

	"github.com/containers/image/v5/docker/reference"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// MaxLength is how long a reference may be, in bytes.
const MaxLength = 4096

// localRegistry is what a name without a registry gets when it is given to an image.
const localRegistry = "localhost"

// idLength is how many hexadecimal digits an image id has.
const idLength = 64

// idPrefix may stand before a whole id.
const idPrefix = "sha256:"

// Normalize completes a name that an image is to get, as podman does: localhost/ where no registry is named, :latest
// where there is neither tag nor digest, library/ for short names of docker.io. Of a tag and a digest the digest
// stays. The error is *errdefs.InvalidReference.
func Normalize(name string) (reference.Named, error) {
	named, err := parse(name)
	if err != nil {
		return nil, err
	}
	full := name
	if isShort(named) {
		full = localRegistry + "/" + name
	}
	named, err = reference.ParseNormalizedNamed(full)
	if err != nil {
		return nil, invalid(name, err)
	}
	return reference.TagNameOnly(dropTag(named)), nil
}

// Tag is Normalize for a name that must not be a digest reference: an image cannot be given a digest.
func Tag(name string) (reference.Named, error) {
	named, err := Normalize(name)
	if err != nil {
		return nil, err
	}
	if _, ok := named.(reference.Digested); ok || strings.HasPrefix(name, idPrefix) {
		return nil, &errdefs.InvalidReference{Reference: name, Reason: "a digest cannot be given to an image, only a tag can"}
	}
	return named, nil
}

// IsTagOnly tells whether a text is a tag without a name, as :latest.
func IsTagOnly(text string) bool { return strings.HasPrefix(text, ":") }

// Query is what someone wrote to name an image of the store.
type Query struct {
	// Text is what was written, without the tag of a reference that has a digest, too.
	Text string
	// ID is a whole image id. If it is set, nothing else is.
	ID string
	// IDPrefix is the text if it could begin an id.
	IDPrefix string
	// Named is the text as a reference, not completed.
	Named reference.Named
	// Short is true if the reference names no registry.
	Short bool
}

// ParseQuery reads what someone wrote to name an image of the store: a reference, an id with or without sha256: before
// it, or the beginning of an id. The error is *errdefs.InvalidReference.
func ParseQuery(text string) (Query, error) {
	if err := checkLength(text); err != nil {
		return Query{}, err
	}
	if id, ok := strings.CutPrefix(text, idPrefix); ok {
		if !isHex(id) || len(id) != idLength {
			return Query{}, &errdefs.InvalidReference{Reference: text, Reason: "sha256: must be followed by the 64 hexadecimal digits of an image id"}
		}
		return Query{Text: text, ID: id}, nil
	}
	if isHex(text) && len(text) == idLength {
		return Query{Text: text, ID: text}, nil
	}
	named, err := parse(text)
	if err != nil {
		return Query{}, err
	}
	short := isShort(named)
	named = dropTag(named)
	q := Query{Text: named.String(), Named: named, Short: short}
	if isHex(text) {
		q.IDPrefix = text
	}
	return q, nil
}

// MatchesRepository tells whether one of an image's names is of the repository that a short reference could mean: the
// same path at the end, and the same tag if the reference has one.
func MatchesRepository(name string, query reference.Named) bool {
	named, err := reference.ParseNamed(name)
	if err != nil {
		return false
	}
	query = reference.TagNameOnly(query)
	if tagged, ok := query.(reference.NamedTagged); ok {
		have, ok := named.(reference.NamedTagged)
		if !ok || have.Tag() != tagged.Tag() {
			return false
		}
	}
	rest, ok := strings.CutSuffix(named.Name(), query.Name())
	return ok && (rest == "" || strings.HasSuffix(rest, "/"))
}

// SameRepository tells whether one of an image's names is of the repository of a full reference.
func SameRepository(name string, full reference.Named) bool {
	named, err := reference.ParseNamed(name)
	return err == nil && named.Name() == full.Name()
}

// parse reads a reference without completing it.
func parse(text string) (reference.Named, error) {
	if err := checkLength(text); err != nil {
		return nil, err
	}
	if isHex(text) && len(text) == idLength {
		return nil, &errdefs.InvalidReference{Reference: text, Reason: "it is an image id"}
	}
	ref, err := reference.Parse(text)
	if err != nil {
		return nil, invalid(text, err)
	}
	named, ok := ref.(reference.Named)
	if !ok {
		return nil, &errdefs.InvalidReference{Reference: text, Reason: "there is no name in it"}
	}
	return named, nil
}

// checkLength refuses what is too long before it takes seconds to parse. The error has the beginning alone: with all of it
// a reply could be too long to be sent.
func checkLength(text string) error {
	if len(text) <= MaxLength {
		return nil
	}
	beginning := strings.ToValidUTF8(text[:MaxLength/16], "") + "…"
	return &errdefs.InvalidReference{Reference: beginning, Reason: fmt.Sprintf("it is longer than %d bytes", MaxLength)}
}

func invalid(text string, err error) error {
	reason := err.Error()
	if text == "" {
		reason = "it is empty"
	}
	return &errdefs.InvalidReference{Reference: text, Reason: reason, Err: err}
}

// isShort tells whether a reference names no registry. Only a name with a dot or a colon, or localhost, is one.
func isShort(named reference.Named) bool {
	registry := reference.Domain(named)
	return !strings.ContainsAny(registry, ".:") && registry != localRegistry
}

// dropTag takes the tag away from a reference that has a digest, too: the digest alone says which image is meant.
func dropTag(named reference.Named) reference.Named {
	digested, ok := named.(reference.Digested)
	if !ok {
		return named
	}
	if canonical, err := reference.WithDigest(reference.TrimNamed(named), digested.Digest()); err == nil {
		return canonical
	}
	return named
}

func isHex(text string) bool {
	return text != "" && strings.Trim(text, "0123456789abcdef") == ""
}
