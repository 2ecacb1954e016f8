package engine

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containers/common/pkg/timetype"
	"github.com/containers/image/v5/docker/reference"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/index"
)

// condition tells whether an image is wanted.
type condition func(*index.Image) bool

// filterKeys are the keys of filters. Each makes a condition of a value.
var filterKeys = map[string]func(e *Engine, s *index.Snapshot, value string) (condition, error){
	"reference":    (*Engine).filterReference,
	"label":        func(_ *Engine, _ *index.Snapshot, v string) (condition, error) { return filterLabel(v) },
	"dangling":     filterBool((*index.Image).Dangling),
	"intermediate": filterBool((*index.Image).Intermediate),
	"readonly":     filterBool(func(img *index.Image) bool { return img.ReadOnly }),
	"manifest":     filterBool(func(img *index.Image) bool { return img.Facts.List }),
	"containers":   filterBool(func(img *index.Image) bool { return len(img.Containers) > 0 }),
	"before":       (*Engine).filterBefore,
	"since":        (*Engine).filterSince,
	"after":        (*Engine).filterSince,
	"until":        func(_ *Engine, _ *index.Snapshot, v string) (condition, error) { return filterUntil(v) },
	"id":           func(_ *Engine, _ *index.Snapshot, v string) (condition, error) { return filterID(v) },
	"digest":       func(_ *Engine, _ *index.Snapshot, v string) (condition, error) { return filterDigest(v) },
}

// compileFilters makes one condition of all filters: of those with = one of each key must hold, and none of those
// with != may.
func (e *Engine) compileFilters(s *index.Snapshot, filters []string) (condition, error) {
	wanted := map[string][]condition{}
	var unwanted []condition
	for _, f := range filters {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, badFilter(f, "it must be key=value or key!=value")
		}
		key, negated := strings.CutSuffix(key, "!")
		compile := filterKeys[key]
		if compile == nil {
			return nil, badFilter(f, "there is no such key")
		}
		c, err := compile(e, s, value)
		switch {
		case err != nil:
			return nil, badFilter(f, err.Error())
		case negated:
			unwanted = append(unwanted, c)
		case key == "after":
			wanted["since"] = append(wanted["since"], c)
		default:
			wanted[key] = append(wanted[key], c)
		}
	}
	return func(img *index.Image) bool {
		holds := func(c condition) bool { return c(img) }
		for _, alternatives := range wanted {
			if !slices.ContainsFunc(alternatives, holds) {
				return false
			}
		}
		return !slices.ContainsFunc(unwanted, holds)
	}, nil
}

// asksForIntermediate tells whether a filter is about images that are not listed otherwise.
func asksForIntermediate(filter string) bool {
	key, _, _ := strings.Cut(filter, "=")
	return strings.TrimSuffix(key, "!") == "intermediate"
}

func badFilter(filter, reason string) error {
	return &errdefs.InvalidParameter{Parameter: "filters", Reason: fmt.Sprintf("%q: %s", filter, reason)}
}

func filterBool(is condition) func(*Engine, *index.Snapshot, string) (condition, error) {
	return func(_ *Engine, _ *index.Snapshot, value string) (condition, error) {
		want, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("the value must be true or false")
		}
		return func(img *index.Image) bool { return is(img) == want }, nil
	}
}

// filterReference takes the image that the value names, and every image of which a name, or a part of it that is
// complete in itself, matches the value as a pattern.
func (e *Engine) filterReference(s *index.Snapshot, value string) (condition, error) {
	if _, err := path.Match(value, ""); err != nil || value == "" {
		return nil, fmt.Errorf("the value must be a reference or a pattern")
	}
	var named *index.Image
	if f, err := e.lookup(s, value); err == nil {
		named = f.img
	}
	return func(img *index.Image) bool {
		return img == named || slices.ContainsFunc(img.Names, func(name string) bool { return matchesPattern(value, name) })
	}, nil
}

// matchesPattern tries a pattern on a reference, whole, without its registry, without its folders, and each of these
// without its tag or digest.
func matchesPattern(pattern, name string) bool {
	named, err := reference.ParseNamed(name)
	if err != nil {
		return pattern == name
	}
	bare := named.Name()
	suffix := strings.TrimPrefix(named.String(), bare)
	for _, part := range []string{bare, reference.Path(named), path.Base(bare)} {
		for _, candidate := range []string{part, part + suffix} {
			if ok, err := path.Match(pattern, candidate); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// filterLabel takes key or key=value; the key may be a pattern.
func filterLabel(value string) (condition, error) {
	key, want, valued := strings.Cut(value, "=")
	if _, err := path.Match(key, ""); err != nil || key == "" {
		return nil, fmt.Errorf("the value must be a label's key, or key=value")
	}
	return func(img *index.Image) bool {
		if img.Facts.Config == nil {
			return false
		}
		for k, v := range img.Facts.Config.Run.Labels {
			if valued && want != "" && v != want {
				continue
			}
			if ok, err := path.Match(key, k); k == key || err == nil && ok {
				return true
			}
		}
		return false
	}, nil
}

func (e *Engine) filterBefore(s *index.Snapshot, value string) (condition, error) {
	f, err := e.lookup(s, value)
	if err != nil {
		return nil, err
	}
	return func(img *index.Image) bool { return img.Created.Before(f.img.Created) }, nil
}

func (e *Engine) filterSince(s *index.Snapshot, value string) (condition, error) {
	f, err := e.lookup(s, value)
	if err != nil {
		return nil, err
	}
	return func(img *index.Image) bool { return img.Created.After(f.img.Created) }, nil
}

// filterUntil takes a time, or how long ago it was.
func filterUntil(value string) (condition, error) {
	stamp, err := timetype.GetTimestamp(value, time.Now())
	if err != nil {
		return nil, err
	}
	seconds, nanoseconds, err := timetype.ParseTimestamps(stamp, 0)
	if err != nil {
		return nil, err
	}
	until := time.Unix(seconds, nanoseconds)
	return func(img *index.Image) bool { return img.Created.Before(until) }, nil
}

func filterID(value string) (condition, error) {
	prefix := strings.TrimPrefix(value, "sha256:")
	if prefix == "" {
		return nil, fmt.Errorf("the value must be an id or the beginning of one")
	}
	return func(img *index.Image) bool { return strings.HasPrefix(img.ID, prefix) }, nil
}

func filterDigest(value string) (condition, error) {
	if !strings.HasPrefix(value, "sha256:") {
		return nil, fmt.Errorf("the value must be a digest, sha256:…, or the beginning of one")
	}
	return func(img *index.Image) bool {
		return slices.ContainsFunc(img.Digests, func(d string) bool { return strings.HasPrefix(d, value) })
	}, nil
}
