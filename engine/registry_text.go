package engine

import (
	"regexp"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// texts is the one place where errors are told by their text: these have no type that could be asked for, or come
// from a child process, which can hand over a text only. Each row has its test.
var texts = []struct {
	pattern *regexp.Regexp
	make    func(e *Engine, reason string, err error) error
}{
	// storage unpacks layers in a child process, whose system errors arrive as texts.
	{regexp.MustCompile(`no space left on device|disk quota exceeded`), func(e *Engine, reason string, err error) error {
		return &errdefs.StorageFull{Path: e.fullPath(err), Reason: reason, Err: err}
	}},
	// image/docker reads manifests through iolimits, which has no error type.
	{regexp.MustCompile(`exceeded maximum allowed size of [0-9]+ bytes`), func(e *Engine, _ string, _ error) error {
		return &errdefs.LimitExceeded{Limit: LimitManifestBytes, Value: e.pullLimits.ManifestBytes}
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

func invalidArchive(_ *Engine, reason string, err error) error {
	return &errdefs.InvalidArchive{Reason: reason, Err: err}
}

// textError knows what only a text tells.
func (e *Engine) textError(err error, _ origin) error {
	for _, t := range texts {
		if t.pattern.MatchString(err.Error()) {
			return t.make(e, clean(err.Error()), quiet{err})
		}
	}
	return nil
}
