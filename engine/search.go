package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"

	"github.com/imaged-project/imaged/engine/errdefs"
)

const (
	defaultSearchLimit = 25
	maxSearchLimit     = 10_000
	maxSearchTerm      = 1024 // bytes
	maxDescription     = 4096 // bytes; what is longer is cut
	// searchTimeout is how long one registry may take. The library bounds nothing else of its answer.
	searchTimeout = 30 * time.Second
	// parallelSearches is how many registries are asked at once.
	parallelSearches = 6
)

// SearchOptions say what to look for. The zero value takes all that a registry finds, up to 25.
type SearchOptions struct {
	// Limit is the most results that a registry may give, up to 10,000. Zero: 25.
	Limit int
	// Official true takes only official images, false only others. Nil: both.
	Official *bool
	// Automated true takes only automated builds, false only others. Nil: both.
	Automated *bool
	// Stars takes only those with at least so many. Zero: all.
	Stars int
	// ListTags lists the tags of the repository that the term names, instead of searching. It takes no filters.
	ListTags bool
	// Credentials go to the term's registry, which it then must name. Nil: those that the daemon's user has.
	Credentials *Credentials
	// TLSVerify false takes any certificate and plain HTTP. Nil: as registries.conf says, else true.
	TLSVerify *bool
}

// SearchResult is one repository that was found, or one tag of it.
type SearchResult struct {
	// Registry is where it was found.
	Registry string
	// Name is the repository's full name.
	Name string
	// Tag is the tag, with ListTags.
	Tag string
	// Description is what its owner says of it; cut to 4 KiB. It is a foreign text, with anything in it.
	Description string
	// Stars is how many it was given.
	Stars int64
	// Official tells whether the registry calls it official.
	Official bool
	// Automated tells whether the registry built it from a source repository.
	Automated bool
}

// Search looks for repositories, or for the tags of one. A term whose first part has a dot or a colon, or is localhost,
// names the registry to ask; else all of registries.conf's unqualified-search registries are asked at once, and the
// results come in their order. Those that fail are an error only if all do. Errors: errdefs.InvalidParameter,
// InvalidReference, ReferenceNotFound, AuthenticationRequired, AccessDenied, RegistryUnreachable, RateLimited, Cancelled.
func (e *Engine) Search(ctx context.Context, term string, o SearchOptions) ([]SearchResult, error) {
	if o.ListTags {
		term = strings.TrimPrefix(term, transportRegistry+"://")
	}
	registry, rest := splitTerm(term)
	if err := o.check(term, registry); err != nil {
		return nil, err
	}
	defer errdefs.Hold(o.Credentials.secrets())()
	registries := []string{registry}
	if registry == "" {
		var err error
		if registries, err = e.hosts.SearchRegistries(); err != nil {
			return nil, &errdefs.Failed{Reason: clean(err.Error()), Err: quiet{err}}
		}
	}
	if len(registries) == 0 {
		return nil, &errdefs.InvalidReference{Reference: clean(term), Reason: "it names no registry, and the host's registries.conf has no unqualified-search registries"}
	}
	s := &searcher{e: e, term: rest, options: o}
	return s.all(ctx, registries)
}

// splitTerm cuts off the registry.
func splitTerm(term string) (registry, rest string) {
	first, rest, found := strings.Cut(term, "/")
	if !found || !strings.ContainsAny(first, ".:") && first != "localhost" {
		return "", term
	}
	return first, rest
}

// check checks the options and puts the defaults in.
func (o *SearchOptions) check(term, registry string) error {
	invalid := func(parameter, reason string) error {
		return &errdefs.InvalidParameter{Parameter: parameter, Reason: reason}
	}
	if o.Limit == 0 {
		o.Limit = defaultSearchLimit
	}
	c := o.Credentials
	switch {
	case term == "" || len(term) > maxSearchTerm:
		return invalid("term", fmt.Sprintf("it is empty, or longer than %d bytes", maxSearchTerm))
	case o.Limit < 0 || o.Limit > maxSearchLimit:
		return invalid("limit", fmt.Sprintf("%d is not between 1 and %d", o.Limit, maxSearchLimit))
	case o.Stars < 0:
		return invalid("stars", fmt.Sprintf("%d is negative", o.Stars))
	case o.ListTags && (o.Official != nil || o.Automated != nil || o.Stars > 0):
		return invalid("listTags", "tags have no stars, nor are they official or automated: give no filter")
	case c != nil && registry == "":
		return invalid("credentials", "the term must name the registry that they are for")
	case c != nil && ((c.Username == "") != (c.Password == "") || (c.Username != "") == (c.IdentityToken != "")):
		return invalid("credentials", "give a user name and its password, or an identity token")
	}
	return nil
}

// searcher is one search.
type searcher struct {
	e       *Engine
	term    string
	options SearchOptions
}

// all asks all registries, and none longer than the context lives.
func (s *searcher) all(ctx context.Context, registries []string) ([]SearchResult, error) {
	type answer struct {
		results []SearchResult
		err     error
	}
	answers := make([]answer, len(registries))
	turns := make(chan struct{}, parallelSearches)
	var asking sync.WaitGroup
	for i, registry := range registries {
		asking.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			answers[i].results, answers[i].err = s.ask(ctx, registry)
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		return nil, cancelled(ctx)
	}
	results := []SearchResult{}
	var failures []error
	for i, a := range answers {
		if a.err != nil {
			failures = append(failures, a.err)
			s.e.log.WithError(a.err).WithField("registry", clean(registries[i])).Info("search: a registry failed")
		}
		results = append(results, a.results...)
	}
	if len(failures) == len(registries) {
		return nil, withTries(mostUseful(failures), failures...)
	}
	return results, nil
}

// ask asks one registry.
func (s *searcher) ask(ctx context.Context, registry string) ([]SearchResult, error) {
	named, err := s.repository(registry)
	if err != nil {
		return nil, err
	}
	inner, end := context.WithCancelCause(ctx)
	defer end(nil)
	timed, stop := context.WithTimeoutCause(inner, searchTimeout, &transferError{fmt.Errorf("it took longer than %s", searchTimeout)})
	defer stop()
	p := &puller{e: s.e, options: PullOptions{Credentials: s.options.Credentials, TLSVerify: s.options.TLSVerify}}
	a := &attempt{puller: p, ctx: timed, sys: p.systemContext(), guard: &stallGuard{end: end}}
	a.origin = p.originOf(named)
	a.confineTokens()
	var suspect func(context.Context)
	if !a.origin.given { // else another's limit could be met
		suspect = func(ctx context.Context) { a.suspect(ctx, "") }
	}
	var results []SearchResult
	err = a.guard.do(a.ctx, suspect, func(ctx context.Context) (err error) {
		if s.options.ListTags {
			results, err = s.tags(ctx, a.sys, registry, named)
		} else {
			results, err = s.search(ctx, a.sys, registry)
		}
		return err
	})
	if err != nil && ctx.Err() == nil && timed.Err() != nil {
		err = context.Cause(timed)
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok { // a web server answers, perhaps
		err = &transferError{fmt.Errorf("its answer is not that of a registry: %w", err)}
	}
	o := a.origin
	o.reference = clean(registry + "/" + s.term)
	return results, a.waiting(ctx, s.e.classify(err, o))
}

func (s *searcher) search(ctx context.Context, sys *types.SystemContext, registry string) ([]SearchResult, error) {
	hits, err := docker.SearchRegistry(ctx, sys, registry, s.term, s.options.Limit)
	if err != nil {
		return nil, err
	}
	var results []SearchResult
	for _, hit := range hits {
		if len(results) == s.options.Limit {
			break
		}
		if s.fits(hit) {
			results = append(results, newSearchResult(registry, hit))
		}
	}
	return results, nil
}

// repository is the one whose tags are listed, else any of the registry. What would not be taken for a host is refused.
func (s *searcher) repository(registry string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(registry + "/x")
	if err != nil || reference.Domain(named) != registry {
		return nil, &errdefs.InvalidReference{Reference: clean(registry), Reason: "it is no registry"}
	}
	if !s.options.ListTags {
		return named, nil
	}
	named, err = reference.ParseNormalizedNamed(registry + "/" + s.term)
	if err != nil || !reference.IsNameOnly(named) {
		return nil, &errdefs.InvalidReference{Reference: clean(registry + "/" + s.term), Reason: "it must be a repository's name, without tag and digest"}
	}
	return named, nil
}

// fits tells whether a hit passes the filters.
func (s *searcher) fits(hit docker.SearchResult) bool {
	o := s.options
	return hit.StarCount >= o.Stars && (o.Official == nil || hit.IsOfficial == *o.Official) && (o.Automated == nil || hit.IsAutomated == *o.Automated)
}

func newSearchResult(registry string, hit docker.SearchResult) SearchResult {
	name := registry + "/" + hit.Name
	if registry == "docker.io" && !strings.Contains(hit.Name, "/") {
		name = registry + "/library/" + hit.Name
	}
	description := hit.Description
	if len(description) > maxDescription {
		description = strings.ToValidUTF8(description[:maxDescription], "") + "…"
	}
	return SearchResult{
		Registry: registry, Name: name, Description: description, Stars: int64(hit.StarCount),
		Official: hit.IsOfficial, Automated: hit.IsAutomated,
	}
}

func (s *searcher) tags(ctx context.Context, sys *types.SystemContext, registry string, named reference.Named) ([]SearchResult, error) {
	ref, err := docker.NewReference(reference.TagNameOnly(named))
	if err != nil {
		return nil, err
	}
	tags, err := docker.GetRepositoryTags(ctx, sys, ref)
	if err != nil {
		return nil, err
	}
	var results []SearchResult
	for _, tag := range tags[:min(len(tags), s.options.Limit)] {
		results = append(results, SearchResult{Registry: registry, Name: named.Name(), Tag: tag})
	}
	return results, nil
}
