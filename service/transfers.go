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
type transfersService struct {
	transfers.Unimplemented
	engine *engine.Engine
}

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
	return pulled(result.(engine.PullResult)), nil
}

func pulled(r engine.PullResult) transfers.PullOut {
	return transfers.PullOut{IDs: r.IDs, Names: r.Names}
}

func pullOptions(peer varlink.Peer, in transfers.PullIn) engine.PullOptions {
	o := engine.PullOptions{
		UID: peer.UID, AllowPath: own(peer), Policy: engine.PullPolicy(in.Policy), AllTags: value(in.AllTags), TLSVerify: in.TLSVerify,
		Platform: platformOf(in.Platform), Detach: value(in.Detach),
		RetryDelay: seconds(in.RetryDelaySeconds), StallTimeout: seconds(in.StallTimeoutSeconds),
	}
	if in.Retries != nil {
		o.Retries = new(int(*in.Retries))
	}
	if c := in.Credentials; c != nil {
		o.Credentials = &engine.Credentials{Username: value(c.Username), Password: value(c.Password), IdentityToken: value(c.IdentityToken)}
	}
	return o
}

func platformOf(p *transfers.Platform) *names.Platform {
	if p == nil {
		return nil
	}
	return &names.Platform{OS: value(p.OS), Architecture: value(p.Architecture), Variant: value(p.Variant)}
}

// seconds makes a duration of a number of seconds; one too long for it becomes the longest.
func seconds(s *float64) *time.Duration {
	if s == nil {
		return nil
	}
	longest := float64(math.MaxInt64 / 2)
	return new(time.Duration(max(-longest, min(longest, *s*float64(time.Second)))))
}
