package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
)

// completeTimeout is how long a shell may wait for names; after that there are none.
const completeTimeout = time.Second

// completer proposes words for an argument, as cobra wants it.
type completer = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective)

// completeImages proposes names of images for the first arguments up to limit, for all of them if limit is 0.
func (a *app) completeImages(limit int) completer {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.complete(cmd.Context(), word, func(ctx context.Context, s *session) (names []string) {
			for batch, err := range s.images().ListStream(ctx, images.ListIn{}) {
				if err != nil {
					return names
				}
				for _, image := range batch.Images {
					names = append(names, waysToName(image, word)...)
				}
			}
			slices.Sort(names)
			return slices.Compact(names)
		})
	}
}

// waysToName are what may be typed for an image, as podman proposes it: its references, and to who began to type already
// each part of them behind a slash, without the tag that needs no saying, and the id.
func waysToName(image images.Image, word string) []string {
	full := tagged(image.Names)
	if word == "" {
		return full
	}
	var ways []string
	for _, rest := range full {
		for more := true; more; _, rest, more = strings.Cut(rest, "/") {
			ways = append(ways, rest)
			if untagged, ok := strings.CutSuffix(rest, ":latest"); ok {
				ways = append(ways, untagged)
			}
		}
	}
	if len(word) > 1 { // one letter would propose ids to who means names
		ways = append(ways, short(image.ID, len(word) > shortLength))
	}
	return ways
}

// completeJobs proposes jobs that run.
func (a *app) completeJobs(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd.Context(), word, func(ctx context.Context, s *session) (ids []string) {
		list, err := s.jobs().List(ctx, jobs.ListIn{})
		if err != nil {
			return nil
		}
		for _, job := range list.Jobs {
			if job.State == jobs.StateRunning {
				ids = append(ids, job.ID+"\t"+escape(job.Subject))
			}
		}
		return ids
	})
}

// complete asks a daemon that runs already: a key press starts none. Failures propose nothing.
func (a *app) complete(ctx context.Context, word string, ask func(context.Context, *session) []string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	address := a.address
	if address == "" {
		address = defaultAddress(os.Getuid(), a.streams.Getenv)
	}
	client, err := varlink.Dial(ctx, address)
	if err != nil {
		return nil, directive
	}
	defer closeQuietly(client)
	words := slices.DeleteFunc(ask(ctx, &session{client: client}), func(candidate string) bool {
		return !strings.HasPrefix(candidate, word) || needsEscape(strings.ReplaceAll(candidate, "\t", ""))
	})
	return words, directive
}
