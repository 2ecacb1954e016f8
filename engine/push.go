package engine

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/containers/image/v5/signature"
	"golang.org/x/sync/semaphore"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/jobs"
)

// methodPush is the method of a push's job.
const methodPush = "transfers.Push"

// ManifestFormat is the format of a pushed manifest.
type ManifestFormat string

// The formats. The zero value stands for the one that the image has.
const (
	// ManifestOCI is that of the OCI.
	ManifestOCI ManifestFormat = "oci"
	// ManifestV2S1 is docker's first one of registries version 2.
	ManifestV2S1 ManifestFormat = "v2s1"
	// ManifestV2S2 is docker's second one.
	ManifestV2S2 ManifestFormat = "v2s2"
)

// Compression is how layers are compressed.
type Compression string

// The compressions. The zero value stands for gzip.
const (
	// Gzip is understood by everyone.
	Gzip Compression = "gzip"
	// Zstd is smaller and faster.
	Zstd Compression = "zstd"
	// ZstdChunked is zstd with an index of the files, so that parts can be pulled.
	ZstdChunked Compression = "zstd_chunked"
)

// PushOptions say how to push. The zero value pushes as root to the registry that the image's name names.
type PushOptions struct {
	// UID is the user who asks: the job is his.
	UID uint32
	// AllowPath lets the destination name a path on this host, as dir:PATH does.
	AllowPath bool
	// Destination is where to: a reference, docker:// before it or not, or a path with its transport, at which there
	// must be nothing yet. Empty: the image's name.
	Destination string
	// Format is the manifest's. Empty: the one that the image has, or one that the registry takes.
	Format ManifestFormat
	// All pushes the images of a manifest list, too; else the list goes alone, and its images must be there already.
	All bool
	// RemoveSignatures leaves signatures behind. An image that has some cannot be pushed without it: its layers lie
	// uncompressed in the store, so the manifest becomes another one.
	RemoveSignatures bool
	// ForceCompression compresses layers anew even if the registry has them in another compression. Nil: true if a
	// CompressionFormat is given.
	ForceCompression *bool
	// SignBy is the identity of a key of the daemon's user. Where the program was built without GnuPG it is refused.
	SignBy string
	// CompressionFormat is how layers are compressed. Empty: gzip.
	CompressionFormat Compression
	// CompressionLevel is how hard, 1 to 9 for gzip, 1 to 22 for the others. Nil: the format's own default.
	CompressionLevel *int
	// Credentials go to the destination's registry alone. Nil: those that the daemon's user has for it.
	Credentials *Credentials
	// TLSVerify false takes any certificate and plain HTTP. Nil: as registries.conf says, else true.
	TLSVerify *bool
	// Retries is how often to try again after a failure that may pass, 0 to 100. Nil: 3.
	Retries *int
	// RetryDelay is the pause before the first retry, doubled each time, up to a day. Nil: a second.
	RetryDelay *time.Duration
	// StallTimeout ends an attempt when no byte went or came for so long, up to a day. Nil: a minute.
	StallTimeout *time.Duration
	// Detach lets the job go on when nobody watches it.
	Detach bool
}

// PushResult is the value that a push's job ends with.
type PushResult struct {
	// Digest is that of the pushed manifest, as sha256:….
	Digest string
}

// Push starts a job that copies an image, or a manifest list, to a registry. It holds no lock of the store, but the
// image cannot be removed meanwhile, and makes no copies on the way. Its progress counts bytes as they lie in the
// store, before they are compressed.
//
// The caller closes the watch. The job's result is a PushResult; its errors are those of io.imaged.transfers.Push. Push
// itself fails, besides, with errdefs.InvalidParameter, InvalidFormat, InvalidReference, PermissionDenied and
// LimitExceeded. The context bounds only the start.
func (e *Engine) Push(ctx context.Context, name string, o PushOptions) (*jobs.Watch, error) {
	if ctx.Err() != nil {
		return nil, cancelled(ctx)
	}
	remote := &PullOptions{
		UID: o.UID, Credentials: o.Credentials, TLSVerify: o.TLSVerify, Retries: o.Retries, RetryDelay: o.RetryDelay, StallTimeout: o.StallTimeout,
	}
	if err := remote.fill(); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &pusher{exporter: exporter{e: e, turns: compressors()}, name: name, options: o, remote: *remote}
	if o.Destination != "" {
		var err error
		if p.to, err = parseDestination(o.Destination); err != nil {
			return nil, err
		}
		if err := p.to.check(&o); err != nil {
			return nil, err
		}
	}
	return e.jobs.Start(jobs.Spec{Method: methodPush, Subject: clean(name), UID: o.UID, Detach: o.Detach, Run: p.run})
}

// compressors lets as many big layers of one push be read at once as there are processors to compress them: with more,
// nothing is faster, but everybody else waits.
func compressors() *semaphore.Weighted { return semaphore.NewWeighted(int64(max(2, runtime.NumCPU()))) }

// check holds the options against each other.
func (o *PushOptions) check() error {
	switch o.Format {
	case "", ManifestOCI, ManifestV2S1, ManifestV2S2:
	default:
		return &errdefs.InvalidFormat{Format: string(o.Format), Supported: []string{string(ManifestOCI), string(ManifestV2S1), string(ManifestV2S2)}}
	}
	most := 22
	switch o.CompressionFormat {
	case "", Gzip:
		most = 9
	case Zstd, ZstdChunked:
		if o.Format == ManifestV2S1 || o.Format == ManifestV2S2 {
			return &errdefs.InvalidFormat{
				Format: string(o.Format), Reason: "its layers cannot be compressed with zstd", Supported: []string{string(ManifestOCI)},
			}
		}
	default:
		return &errdefs.InvalidFormat{Format: string(o.CompressionFormat), Supported: []string{string(Gzip), string(Zstd), string(ZstdChunked)}}
	}
	if level := o.CompressionLevel; level != nil && (*level < 1 || *level > most) {
		return &errdefs.InvalidParameter{Parameter: "compressionLevel", Reason: fmt.Sprintf("%d is not between 1 and %d", *level, most)}
	}
	if o.SignBy == "" {
		return nil
	}
	return canSign()
}

// canSign tells whether this program can sign at all.
func canSign() error {
	mechanism, err := signature.NewGPGSigningMechanism()
	if err == nil {
		err = mechanism.SupportsSigning()
		_ = mechanism.Close() // nothing was done with it
	}
	if err != nil {
		return &errdefs.InvalidParameter{Parameter: "signBy", Reason: "this daemon cannot sign: " + clean(err.Error())}
	}
	return nil
}
