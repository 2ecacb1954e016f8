package engine

import (
	"regexp"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// texts is the one place where errors are told by their text: these have no type that could be asked for, or come
// from a child process, which can hand over a text only. Each row has its test.
var texts = []struct {
	pattern *regexp.Regexp
	make    func(e *Engine, o origin, reason string, err error) error
}{
	// storage unpacks layers in a child process, whose system errors arrive as texts.
	{regexp.MustCompile(`no space left on device|disk quota exceeded`), func(e *Engine, _ origin, reason string, err error) error {
		return &errdefs.StorageFull{Path: e.fullPath(err), Reason: reason, Err: err}
	}},
	// image/docker reads manifests through iolimits, which has no error type.
	{regexp.MustCompile(`exceeded maximum allowed size of [0-9]+ bytes`), func(e *Engine, _ origin, _ string, _ error) error {
		return &errdefs.LimitExceeded{Limit: LimitManifestBytes, Value: e.pullLimits.ManifestBytes}
	}},
	// image/docker refuses what registries.conf blocks.
	{regexp.MustCompile(`registry .* is blocked in `), func(_ *Engine, o origin, reason string, err error) error {
		return &errdefs.AccessDenied{Registry: o.registry, Reason: reason, Err: err}
	}},
	// image/docker quotes the beginning of a token that it cannot read; that is not repeated.
	{regexp.MustCompile(`decoding bearer token`), func(_ *Engine, o origin, _ string, _ error) error {
		return &errdefs.RegistryUnreachable{Registry: o.registry, Reason: "what its token server answers is no token"}
	}},
	// image/docker reads lists of tags, alone of all that it reads without a word of its own about what is no JSON.
	{regexp.MustCompile(`^(registry returned invalid tag|invalid character|json: cannot unmarshal) `), func(_ *Engine, _ origin, _ string, err error) error {
		return damaged("list of tags", err)
	}},
	// image/copy's digesting reader.
	{regexp.MustCompile(`Digest did not match, expected`), invalidArchive},
	// image's unparsed image: a manifest that is not the one its digest names.
	{regexp.MustCompile(`Manifest does not match provided manifest digest`), invalidArchive},
	// image/storage: a layer that is not the one its configuration names.
	{regexp.MustCompile(`does not match config's DiffID`), invalidArchive},
	// image/storage: a layer that is no tar, or not compressed as it says; storage's child process says it likewise.
	{regexp.MustCompile(`archive/tar: |gzip: invalid|flate: corrupt|invalid checksum|magic number mismatch|unexpected EOF`), invalidArchive},
}

func invalidArchive(_ *Engine, _ origin, reason string, err error) error {
	return &errdefs.InvalidArchive{Reason: reason, Err: err}
}

// textError knows what only a text tells.
func (e *Engine) textError(err error, o origin) error {
	for _, t := range texts {
		if t.pattern.MatchString(err.Error()) {
			return t.make(e, o, clean(err.Error()), quiet{err})
		}
	}
	return nil
}
