package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"

	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/engine/events"
	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/engine/progress"
)

// maxRetryAfter is the longest pause that a registry may ask for; after a longer one the pull fails, with the pause
// in its error.
const maxRetryAfter = 10 * time.Minute

// userAgent is how we show ourselves to registries.
const userAgent = "imaged"

// puller is the work of one pull's job.
type puller struct {
	e        *Engine
	options  PullOptions
	source   *pullSource
	limits   PullLimits
	others   []party        // registries that an attempt talks to besides the one it is of
	reporter *jobs.Reporter // set when the job runs
	attempts []errdefs.Attempt
	unstaged bool // the library unpacks layers: beside the store they were lost
}

// run pulls. It is the Run of the job.
func (p *puller) run(ctx context.Context, r *jobs.Reporter) (any, error) {
	p.reporter = r
	defer errdefs.Hold(p.options.Credentials.secrets())()
	operation := p.e.events.Begin()
	defer operation.End()
	result, err := p.pullDurably(ctx, operation)
	if err != nil {
		p.e.events.Publish(events.Event{Kind: events.PullFailed, Name: clean(p.source.text), Err: err})
		return nil, err
	}
	for i, id := range result.IDs {
		pulled := events.Event{Kind: events.Pulled, ID: id}
		if name := result.Names[i]; name != "sha256:"+id {
			pulled.Name = name
		}
		p.e.events.Publish(pulled)
	}
	return result, nil
}

func (p *puller) pullDurably(ctx context.Context, operation *events.Operation) (PullResult, error) {
	p.e.pulls.enter()
	result, err := p.pull(ctx)
	p.e.pulls.leave(p.e.store)
	if err != nil && ctx.Err() != nil {
		return PullResult{}, &errdefs.Cancelled{Job: p.reporter.Job(), Err: context.Cause(ctx)}
	}
	if err != nil {
		return PullResult{}, p.withAttempts(err)
	}
	for _, id := range result.IDs {
		operation.Made(id)
	}
	p.e.guard.settle(result.IDs...)
	p.reporter.Progress().SetPhase(progress.Committing)
	return result, p.e.durable()
}

func (p *puller) pull(ctx context.Context) (PullResult, error) {
	if p.source.transport != transportRegistry {
		return p.pullPath(ctx)
	}
	local, err := p.findLocal(ctx)
	if err != nil {
		return PullResult{}, err
	}
	switch {
	case p.options.Policy == PullNever && local == nil:
		return PullResult{}, &errdefs.ImageNotFound{Name: p.source.text}
	case p.options.Policy == PullNever, local != nil && (p.options.Policy == PullMissing || p.source.byID):
		return local.result(), nil
	case p.source.byID:
		return PullResult{}, &errdefs.ImageNotFound{Name: p.source.text}
	}
	return p.pullRemote(ctx, local)
}

// pullRemote asks the registries that the name may mean, one after the other.
func (p *puller) pullRemote(ctx context.Context, local *localImage) (PullResult, error) {
	candidates, err := p.source.candidates(p.systemContext(), p.options.Credentials != nil)
	if err != nil {
		return PullResult{}, err
	}
	if local != nil && local.named != nil { // found in the store under one of them: that one is meant
		candidates = []reference.Named{local.named}
	}
	var failures []error
	for _, named := range candidates {
		result, err := p.pullCandidate(ctx, named, local)
		if err == nil {
			return result, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil || !registrySaid(err) {
			break
		}
	}
	err = mostUseful(failures)
	if local != nil && ctx.Err() == nil && registrySaid(err) {
		p.line("%s; taking the image that is here", err)
		return local.result(), nil
	}
	return PullResult{}, err
}

// pullCandidate pulls one reference, or all tags of its repository.
func (p *puller) pullCandidate(ctx context.Context, named reference.Named, local *localImage) (PullResult, error) {
	if !p.options.AllTags {
		return p.pullOne(ctx, named, local)
	}
	var result PullResult
	tagged, err := p.tags(ctx, reference.TrimNamed(named))
	if err != nil {
		return result, err
	}
	for _, named := range tagged {
		one, err := p.pullOne(ctx, named, nil)
		if err != nil {
			return result, err
		}
		result.IDs, result.Names = append(result.IDs, one.IDs...), append(result.Names, one.Names...)
	}
	return result, nil
}

// tags returns the repository's tags, as references.
func (p *puller) tags(ctx context.Context, repository reference.Named) ([]reference.Named, error) {
	var tagged []reference.Named
	err := p.retry(ctx, repository, func(a *attempt) error {
		ref, err := docker.NewReference(reference.TagNameOnly(repository))
		if err != nil {
			return err
		}
		var tags []string
		err = a.guard.do(a.ctx, func(ctx context.Context) { a.suspect(ctx, "") }, func(ctx context.Context) (err error) {
			tags, err = docker.GetRepositoryTags(ctx, a.sys, ref)
			return err
		})
		if err != nil {
			return err
		}
		switch {
		case len(tags) == 0:
			return &errdefs.ReferenceNotFound{Reference: repository.String(), Registry: a.origin.registry, Reason: "the repository has no tag"}
		case int64(len(tags)) > p.limits.Tags:
			return &errdefs.LimitExceeded{Limit: LimitTags, Value: p.limits.Tags}
		}
		for _, tag := range tags {
			named, err := reference.WithTag(repository, tag)
			if err != nil {
				return damaged("tag list", err)
			}
			tagged = append(tagged, named)
		}
		return nil
	})
	return tagged, err
}

// pullOne pulls one full reference.
func (p *puller) pullOne(ctx context.Context, named reference.Named, local *localImage) (PullResult, error) {
	var result PullResult
	p.line("Trying to pull %s...", named)
	err := p.retry(ctx, named, func(a *attempt) error {
		ref, err := docker.NewReference(named)
		if err != nil {
			return err
		}
		id, err := a.pull(ref, named, local)
		result = PullResult{IDs: []string{id}, Names: []string{named.String()}}
		if err == nil && local != nil && id == local.id {
			result = local.result()
		}
		return err
	})
	return result, err
}

// retry attempts something with a registry until it works, fails for good, or fails too often.
func (p *puller) retry(ctx context.Context, named reference.Named, try func(*attempt) error) error {
	o := p.originOf(named)
	delay, renewed := *p.options.RetryDelay, false
	for n := 0; ; n++ {
		err := p.attempt(ctx, o, try)
		if err == nil || ctx.Err() != nil {
			return err
		}
		p.attempts = append(p.attempts, p.mirrorAttempts(named, err)...)
		p.attempts = append(p.attempts, errdefs.Attempt{Endpoint: named.String(), Error: errdefs.Name(err), Reason: shortReason(err)})
		if _, ok := errors.AsType[*expiredError](err); ok && !renewed {
			renewed = true
			p.line("%s; asking for a new token", err)
			continue
		}
		pause := delay
		if asked := askedPause(err); asked != nil {
			pause = time.Duration(min(*asked, int64(maxDuration/time.Second))) * time.Second
		}
		if !mayPass(err) || n >= *p.options.Retries || pause > max(maxRetryAfter, delay) {
			return err
		}
		p.line("%s; trying again in %s", err, pause.Round(time.Millisecond))
		if err := p.wait(ctx, pause); err != nil {
			return err
		}
		delay = min(2*delay, maxDuration)
	}
}

// askedPause returns the seconds that a registry wants nothing to be asked; nil if it did not say.
func askedPause(err error) *int64 {
	if limited, ok := errors.AsType[*errdefs.RateLimited](err); ok {
		return limited.RetryAfter
	}
	if busy, ok := errors.AsType[*errdefs.RegistryUnreachable](err); ok {
		return busy.RetryAfter
	}
	return nil
}

// wait pauses before a retry.
func (p *puller) wait(ctx context.Context, pause time.Duration) error {
	phase := p.reporter.Progress().Phase()
	p.reporter.Progress().SetPhase(progress.Waiting)
	defer p.reporter.Progress().SetPhase(phase)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return cancelled(ctx)
	}
}

// systemContext makes the library's context of this pull.
func (p *puller) systemContext() *types.SystemContext {
	sys := p.e.systemContext()
	sys.DockerRegistryUserAgent = userAgent
	if platform := p.options.Platform; platform != nil {
		sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = platform.OS, platform.Architecture, platform.Variant
	}
	if verify := p.options.TLSVerify; verify != nil {
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*verify)
		sys.OCIInsecureSkipTLSVerify = !*verify
	}
	if c := p.options.Credentials; c != nil {
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken}
	}
	return sys
}

func (p *puller) line(format string, args ...any) {
	p.reporter.Line(jobs.Engine, clean(fmt.Sprintf(format, args...)))
}

// registrySaid tells whether an error is one registry's, so that another one may do better.
func registrySaid(err error) bool {
	return slices.Contains(remoteErrors, errdefs.Name(err))
}

// remoteErrors are the errors of a registry, the one first that tells most where several candidates failed: an image
// may well be where it could not be looked for.
var remoteErrors = []string{"RegistryUnreachable", "RateLimited", "AuthenticationRequired", "AccessDenied", "ReferenceNotFound"}

// mostUseful picks one of several candidates' errors.
func mostUseful(failures []error) error {
	return slices.MinFunc(failures, func(a, b error) int {
		return slices.Index(remoteErrors, errdefs.Name(a)) - slices.Index(remoteErrors, errdefs.Name(b))
	})
}

// shortReason is an error's cause alone, for a list of attempts.
func shortReason(err error) string {
	if e, ok := errors.AsType[*errdefs.ReferenceNotFound](err); ok {
		return e.Reason
	}
	if e, ok := errors.AsType[*errdefs.AuthenticationRequired](err); ok {
		return e.Reason
	}
	if e, ok := errors.AsType[*errdefs.AccessDenied](err); ok {
		return e.Reason
	}
	if e, ok := errors.AsType[*errdefs.RegistryUnreachable](err); ok {
		return e.Reason
	}
	return err.Error()
}

// withAttempts puts what was tried into an error that has a place for it.
func (p *puller) withAttempts(err error) error {
	if e, ok := errors.AsType[*errdefs.ReferenceNotFound](err); ok {
		e.Attempts = p.attempts
	}
	if e, ok := errors.AsType[*errdefs.RegistryUnreachable](err); ok {
		e.Attempts = p.attempts
	}
	return err
}
