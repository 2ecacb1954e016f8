package service

import (
	"context"
	"math"
	"time"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/names"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// transfersService is io.imaged.transfers.
type transfersService struct{ engine *engine.Engine }

// Pull pulls an image.
func (s transfersService) Pull(ctx context.Context, in transfers.PullIn, send func(transfers.PullOut) error) (transfers.PullOut, error) {
	watch, err := s.engine.Pull(ctx, in.Reference, pullOptions(varlink.CallFrom(ctx).Peer(), in))
	if err != nil {
		return transfers.PullOut{}, failure(transfers.Interface, err)
	}
	result, err := follow(ctx, watch, func(n news) error {
		return send(transfers.PullOut{Job: n.job, Progress: n.progress, Lines: n.lines})
	})
	if err != nil {
		return transfers.PullOut{}, failure(transfers.Interface, err)
	}
	return final[transfers.PullOut](result), nil
}

// Push pushes an image.
func (s transfersService) Push(ctx context.Context, in transfers.PushIn, send func(transfers.PushOut) error) (transfers.PushOut, error) {
	watch, err := s.engine.Push(ctx, in.Name, pushOptions(varlink.CallFrom(ctx).Peer(), in))
	if err != nil {
		return transfers.PushOut{}, failure(transfers.Interface, err)
	}
	result, err := follow(ctx, watch, func(n news) error {
		return send(transfers.PushOut{Job: n.job, Progress: n.progress, Lines: n.lines})
	})
	if err != nil {
		return transfers.PushOut{}, failure(transfers.Interface, err)
	}
	return final[transfers.PushOut](result), nil
}

func pushOptions(peer varlink.Peer, in transfers.PushIn) engine.PushOptions {
	return engine.PushOptions{
		UID: peer.UID, AllowPath: own(peer), Destination: value(in.Destination), Format: engine.ManifestFormat(in.Format),
		All: value(in.All), RemoveSignatures: value(in.RemoveSignatures), ForceCompression: in.ForceCompression, SignBy: value(in.SignBy),
		CompressionFormat: engine.Compression(in.CompressionFormat), CompressionLevel: number(in.CompressionLevel),
		Credentials: credentialsOf(in.Credentials), TLSVerify: in.TLSVerify, Retries: number(in.Retries),
		RetryDelay: seconds(in.RetryDelaySeconds), StallTimeout: seconds(in.StallTimeoutSeconds), Detach: value(in.Detach),
	}
}

// Copy copies an image from one place to another.
func (s transfersService) Copy(ctx context.Context, in transfers.CopyIn, send func(transfers.CopyOut) error) (transfers.CopyOut, error) {
	peer := varlink.CallFrom(ctx).Peer()
	watch, err := s.engine.Copy(ctx, in.Source, in.Destination, engine.CopyOptions{
		UID: peer.UID, AllowPath: own(peer), All: value(in.All),
		SourceCredentials: credentialsOf(in.SourceCredentials), DestinationCredentials: credentialsOf(in.DestinationCredentials),
		SourceTLSVerify: in.SourceTLSVerify, DestinationTLSVerify: in.DestinationTLSVerify,
	})
	if err != nil {
		return transfers.CopyOut{}, failure(transfers.Interface, err)
	}
	result, err := follow(ctx, watch, func(n news) error {
		return send(transfers.CopyOut{Job: n.job, Progress: n.progress, Lines: n.lines})
	})
	if err != nil {
		return transfers.CopyOut{}, failure(transfers.Interface, err)
	}
	return final[transfers.CopyOut](result), nil
}

// Search searches registries.
func (s transfersService) Search(ctx context.Context, in transfers.SearchIn) (transfers.SearchOut, error) {
	found, err := s.engine.Search(ctx, in.Term, engine.SearchOptions{
		Limit: int(value(in.Limit)), Official: in.Official, Automated: in.Automated, Stars: int(value(in.Stars)),
		ListTags: value(in.ListTags), Credentials: credentialsOf(in.Credentials), TLSVerify: in.TLSVerify,
	})
	var out transfers.SearchOut
	for _, r := range found {
		out.Results = append(out.Results, transfers.SearchResult{
			Registry: r.Registry, Name: r.Name, Tag: optional(r.Tag), Description: r.Description, Stars: r.Stars, Official: r.Official, Automated: r.Automated,
		})
	}
	return out, failure(transfers.Interface, err)
}

// resultOf writes a job's result as the last reply of its method.
func resultOf(result any) any {
	switch r := result.(type) {
	case engine.PullResult:
		return transfers.PullOut{IDs: r.IDs, Names: r.Names}
	case engine.PushResult:
		return transfers.PushOut{Digest: &r.Digest}
	case engine.SaveResult:
		return transfers.SaveOut{Size: &r.Size}
	case engine.LoadResult:
		return transfers.LoadOut{IDs: r.IDs, Names: r.Names}
	case engine.ImportResult:
		return transfers.ImportOut{ID: &r.ID}
	case engine.CopyResult:
		return transfers.CopyOut{Digest: &r.Digest}
	}
	return result
}

// final is resultOf for a method that knows what its job returns.
func final[Out any](result any) Out { return resultOf(result).(Out) }

func pullOptions(peer varlink.Peer, in transfers.PullIn) engine.PullOptions {
	o := engine.PullOptions{
		UID: peer.UID, AllowPath: own(peer), Policy: engine.PullPolicy(in.Policy), AllTags: value(in.AllTags), TLSVerify: in.TLSVerify,
		Platform: platformOf(in.Platform), Detach: value(in.Detach), Credentials: credentialsOf(in.Credentials),
		Retries: number(in.Retries), RetryDelay: seconds(in.RetryDelaySeconds), StallTimeout: seconds(in.StallTimeoutSeconds),
	}
	return o
}

func credentialsOf(c *transfers.Credentials) *engine.Credentials {
	if c == nil {
		return nil
	}
	return &engine.Credentials{Username: value(c.Username), Password: value(c.Password), IdentityToken: value(c.IdentityToken)}
}

func platformOf(p *transfers.Platform) *names.Platform {
	if p == nil {
		return nil
	}
	return &names.Platform{OS: value(p.OS), Architecture: value(p.Architecture), Variant: value(p.Variant)}
}

func number(n *int64) *int {
	if n == nil {
		return nil
	}
	return new(int(*n))
}

// seconds makes a duration of a number of seconds; one too long for it becomes the longest.
func seconds(s *float64) *time.Duration {
	if s == nil {
		return nil
	}
	longest := float64(math.MaxInt64 / 2)
	return new(time.Duration(max(-longest, min(longest, *s*float64(time.Second)))))
}
