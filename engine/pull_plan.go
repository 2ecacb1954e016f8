package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/names"
	"github.com/imaged-project/imaged/engine/progress"
)

// readManifest is a manifest as it came.
type readManifest struct {
	bytes  []byte
	mime   string
	digest digest.Digest
}

// pullPlan is what an attempt found out before it fetches layers. All of it comes from one reading of each manifest.
type pullPlan struct {
	top          readManifest   // what the reference means: an image's manifest, or a list of them
	instance     *digest.Digest // the one chosen from the list; nil if top is no list
	image        readManifest   // the image's manifest; top, if that is no list
	unparsed     *image.UnparsedImage
	parsed       manifest.Manifest
	configDigest digest.Digest
	config       []byte // nil for the old manifests that have none
	platform     names.Platform
	diffIDs      []digest.Digest // of the image's layers, lowest first; nil if they cannot be told
	chain        []string        // ids that the image's layers get in the store, lowest first; nil if they cannot be told
}

// layers returns the image's layers without those that the format has for nothing.
func (p *pullPlan) layers() []manifest.LayerInfo {
	return slices.DeleteFunc(slices.Clone(p.parsed.LayerInfos()), func(l manifest.LayerInfo) bool { return l.EmptyLayer })
}

// makePlan reads the manifests and the configuration, and refuses what is damaged, too big, for another platform or
// against the signature policy.
func (a *attempt) makePlan(ctx context.Context, source types.ImageSource) (*pullPlan, error) {
	plan := &pullPlan{}
	if err := a.readManifests(ctx, source, plan); err != nil {
		return nil, err
	}
	if err := a.checkImage(plan); err != nil {
		return nil, err
	}
	if err := a.checkPolicy(ctx, plan); err != nil {
		return nil, err
	}
	if plan.configDigest == "" {
		return plan, nil
	}
	if err := a.readConfig(ctx, source, plan); err != nil {
		return nil, err
	}
	return plan, a.checkPlatform(plan)
}

func damaged(what string, err error) error {
	return &errdefs.InvalidArchive{Reason: clean(what + ": " + err.Error()), Err: quiet{err}}
}

// readManifests reads what the reference means, and if that is a list, the image in it that is wanted.
func (a *attempt) readManifests(ctx context.Context, source types.ImageSource, plan *pullPlan) error {
	plan.unparsed = image.UnparsedInstance(source, nil)
	var err error
	if plan.top, err = a.readManifest(ctx, plan.unparsed); err != nil {
		return err
	}
	plan.image = plan.top
	if !manifest.MIMETypeIsMultiImage(plan.top.mime) {
		return nil
	}
	list, err := manifest.ListFromBlob(plan.top.bytes, plan.top.mime)
	if err != nil {
		return damaged("manifest list", err)
	}
	chosen, err := list.ChooseInstance(a.sys)
	if err != nil {
		return a.noPlatform(listPlatforms(list))
	}
	if err := chosen.Validate(); err != nil {
		return damaged("manifest list", err)
	}
	plan.instance = &chosen
	plan.unparsed = image.UnparsedInstance(source, &chosen)
	plan.image, err = a.readManifest(ctx, plan.unparsed)
	if err == nil && manifest.MIMETypeIsMultiImage(plan.image.mime) {
		err = damaged("manifest list", fmt.Errorf("%s in it is a list again", chosen))
	}
	return err
}

// readManifest reads one manifest; the library holds it against the digest in its name.
func (a *attempt) readManifest(ctx context.Context, unparsed *image.UnparsedImage) (readManifest, error) {
	var m readManifest
	err := a.guard.do(ctx, func(ctx context.Context) { a.suspect(ctx, "") }, func(ctx context.Context) (err error) {
		m.bytes, m.mime, err = unparsed.Manifest(ctx)
		return err
	})
	if err != nil {
		return m, a.remember(err)
	}
	if int64(len(m.bytes)) > a.limits.ManifestBytes {
		return m, &errdefs.LimitExceeded{Limit: LimitManifestBytes, Value: a.limits.ManifestBytes}
	}
	if m.mime == "" {
		m.mime = manifest.GuessMIMEType(m.bytes)
	}
	m.mime = manifest.NormalizedMIMEType(m.mime)
	if m.digest, err = manifest.Digest(m.bytes); err != nil {
		return m, damaged("manifest", err)
	}
	if err := m.check(); err != nil {
		return m, damaged("manifest", err)
	}
	size := int64(len(m.bytes))
	a.reporter.Progress().Add(progress.Blob{
		Digest: m.digest.String(), Kind: progress.Manifest, State: progress.BlobDone, Offset: size, Size: &size,
	})
	return m, nil
}

// checkImage is checkBlobs of a manifest that must not be an artifact's.
func (a *attempt) checkImage(plan *pullPlan) error {
	if err := a.checkBlobs(plan); err != nil {
		return err
	}
	if kind := plan.parsed.ConfigInfo().MediaType; plan.image.mime == ociv1.MediaTypeImageManifest && kind != ociv1.MediaTypeImageConfig {
		return damaged("manifest", fmt.Errorf("it is an artifact's, no image's: its configuration is of type %q", kind))
	}
	return nil
}

// checkBlobs parses the image's manifest, checks what it says of the configuration and the layers, and tells the tracker
// of them.
func (a *attempt) checkBlobs(plan *pullPlan) (err error) {
	if plan.parsed, err = manifest.FromBlob(plan.image.bytes, plan.image.mime); err != nil {
		return damaged("manifest", err)
	}
	config, layers := plan.parsed.ConfigInfo(), plan.layers()
	if int64(len(layers)) > a.limits.Layers {
		return &errdefs.LimitExceeded{Limit: LimitLayers, Value: a.limits.Layers}
	}
	var blobs []progress.Blob
	if config.Digest != "" {
		if config.Size > a.limits.ConfigBytes {
			return &errdefs.LimitExceeded{Limit: LimitConfigBytes, Value: a.limits.ConfigBytes}
		}
		plan.configDigest = config.Digest
		blobs = append(blobs, progress.Blob{Digest: config.Digest.String(), Kind: progress.Config, Size: known(config.Size)})
	}
	left := a.limits.ImageBytes
	for _, l := range layers {
		if l.Size > a.limits.LayerBytes {
			return &errdefs.LimitExceeded{Limit: LimitLayerBytes, Value: a.limits.LayerBytes}
		}
		if left -= max(l.Size, 0); left < 0 {
			return &errdefs.LimitExceeded{Limit: LimitImageBytes, Value: a.limits.ImageBytes}
		}
		blobs = append(blobs, progress.Blob{Digest: l.Digest.String(), Kind: progress.Layer, Size: known(l.Size)})
	}
	for _, b := range blobs {
		if err := digest.Digest(b.Digest).Validate(); err != nil {
			return damaged(fmt.Sprintf("manifest: %s %q", b.Kind, b.Digest), err)
		}
	}
	if config.Digest != "" && config.Digest.Algorithm() != digest.Canonical { // an image's id is such a digest
		return damaged("manifest", fmt.Errorf("the digest of its configuration is not of SHA-256: %s", config.Digest))
	}
	a.reporter.Progress().Add(blobs...)
	return nil
}

func known(size int64) *int64 {
	if size < 0 {
		return nil
	}
	return &size
}

// checkPolicy holds the image against the host's signature policy, with the library's own source: the one that
// counts cannot hand over every kind of signature. What is copied later is the very manifest judged here.
func (a *attempt) checkPolicy(ctx context.Context, plan *pullPlan) (err error) {
	policy, err := a.e.policyContext()
	if err != nil {
		return &errdefs.Failed{Reason: clean(err.Error()), Err: quiet{err}}
	}
	defer func() {
		if e := policy.Destroy(); err == nil {
			err = e
		}
	}()
	return a.guard.do(ctx, nil, func(ctx context.Context) error {
		allowed, err := policy.IsRunningImageAllowed(ctx, plan.unparsed)
		if err == nil && !allowed {
			err = &errdefs.PolicyRejected{Reference: a.origin.reference, Reason: "it is not allowed"}
		}
		return err
	})
}

// readConfig reads the image's configuration.
func (a *attempt) readConfig(ctx context.Context, source types.ImageSource, plan *pullPlan) error {
	info := plan.parsed.ConfigInfo()
	info.URLs = nil
	body, _, err := a.openBlob(ctx, source, info, none.NoCache)
	if err != nil {
		return err
	}
	plan.config, err = io.ReadAll(io.LimitReader(body, a.limits.ConfigBytes+1))
	if e := body.Close(); err == nil && e != nil {
		err = &transferError{e}
	}
	switch {
	case err != nil:
		return err
	case int64(len(plan.config)) > a.limits.ConfigBytes:
		return &errdefs.LimitExceeded{Limit: LimitConfigBytes, Value: a.limits.ConfigBytes}
	case info.Digest.Algorithm().FromBytes(plan.config) != info.Digest:
		return damaged("configuration", fmt.Errorf("its digest is not %s", info.Digest))
	}
	a.reporter.Progress().SetState(info.Digest.String(), progress.BlobDone)
	return plan.readConfig()
}

// readConfig takes from the configuration what matters here. One that is no image's, as artifacts have, says nothing.
func (p *pullPlan) readConfig() error {
	if !slices.Contains([]string{ociv1.MediaTypeImageConfig, manifest.DockerV2Schema2ConfigMediaType}, p.parsed.ConfigInfo().MediaType) {
		return nil
	}
	var config ociv1.Image
	if err := json.Unmarshal(p.config, &config); err != nil {
		return damaged("configuration", err)
	}
	p.platform = names.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}
	if len(config.RootFS.DiffIDs) != len(p.layers()) {
		return damaged("configuration", fmt.Errorf("it has %d layers, the manifest %d", len(config.RootFS.DiffIDs), len(p.layers())))
	}
	parent := ""
	for _, diffID := range config.RootFS.DiffIDs {
		if err := diffID.Validate(); err != nil {
			return damaged("configuration", err)
		}
		id := diffID.Encoded() // as image/storage names layers
		if parent != "" {
			id = digest.Canonical.FromString(parent + "+" + id).Encoded()
		}
		parent = id
		p.diffIDs = append(p.diffIDs, diffID)
		p.chain = append(p.chain, id)
	}
	return nil
}

// wanted returns the platform that is asked for.
func (a *attempt) wanted() names.Platform {
	if a.options.Platform != nil {
		return a.options.Platform.WithHost()
	}
	return names.Platform{}.WithHost()
}

// checkPlatform refuses an image for another platform. If none was asked for, any will do from a path, and from a registry
// one for another processor: as with podman, that is only told.
func (a *attempt) checkPlatform(plan *pullPlan) error {
	asked, wanted := a.options.Platform != nil, a.wanted()
	switch {
	case a.local && !asked || suits(wanted, plan.platform):
		return nil
	case !asked && suits(names.Platform{OS: wanted.OS}, plan.platform):
		a.line("The image is for %s, not for this host (%s)", plan.platform, wanted)
		return nil
	}
	return a.noPlatform([]string{plan.platform.String()})
}

func (a *attempt) noPlatform(there []string) error {
	reason := fmt.Sprintf("not for platform %s; there is %s", a.wanted(), strings.Join(there, ", "))
	if len(there) == 0 {
		reason = fmt.Sprintf("not for platform %s, nor any other", a.wanted())
	}
	if a.local {
		return &errdefs.InvalidArchive{Reason: clean(reason)}
	}
	return &errdefs.ReferenceNotFound{Reference: a.origin.reference, Registry: a.origin.registry, Reason: clean(reason)}
}

// listPlatforms returns the platforms of a list, without those that stand for no image.
func listPlatforms(list manifest.List) []string {
	var all []string
	for _, d := range list.Instances() {
		instance, err := list.Instance(d)
		if err != nil || instance.ReadOnly.Platform == nil {
			continue
		}
		if text := names.FromSpec(*instance.ReadOnly.Platform).String(); text != "unknown/unknown" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	slices.Sort(all)
	return all
}
