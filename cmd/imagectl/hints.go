package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// hints tell what the parameters of the daemon want that it refuses without a word of its own.
var hints = map[string]string{
	"filters":          "write KEY=VALUE or KEY!=VALUE, with a key and a value that imagectl COMMAND --help tells of",
	"changes":          "write CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR as in a Containerfile, each on its own",
	"signBy":           "this daemon cannot sign",
	"destination":      "name where to push to: an id is no such place",
	"compressionLevel": "gzip has levels from 1 to 9, zstd from 1 to 22",
	"tags":             "write names with or without a tag: a tag alone is none, and a docker-dir has no place for any",
	"name":             "an archive with several images takes no name",
	"reference":        "with --all-tags name a registry's repository, without tag and digest",
	"allTags":          "only a registry's repository has tags",
	"all":              "the destination takes single images only",
	"compress":         "it is for docker-dir and oci-dir only",
	"url":              "write http://HOST/PATH or https://HOST/PATH",
	"message":          "write 64 KiB at most",
	"listTags":         "tags have no stars, and are neither official nor automated",
	"retries":          "try again 0 to 100 times",
	"limit":            "ask for 1 to 10000 results",

	"credentials":            "give a user name and its password",
	"sourceCredentials":      "give a user name and its password",
	"destinationCredentials": "give a user name and its password",
	"retryDelaySeconds":      "wait up to a day",
	"stallTimeoutSeconds":    "wait more than no time and up to a day",
}

// refused says that the daemon does not take a parameter.
func refused(parameter string) string {
	hint := cmp.Or(hints[parameter], "it is unknown, missing or no valid value; imagectl COMMAND --help tells what is valid")
	return fmt.Sprintf("the daemon refuses the parameter %q: %s", parameter, hint)
}

// imageFilters are the keys of filters of images.
var imageFilters = []string{
	"before=", "containers=", "dangling=", "digest=", "id=", "intermediate=", "label=", "manifest=", "readonly=", "reference=", "since=", "until=",
}

// filterHelp tells of the keys.
const filterHelp = `
A filter is KEY=VALUE, or KEY!=VALUE for those without. Of several with one key one must hold, of each key one. The keys:
  reference=PATTERN      a name, or a part of it, matches: alpine, quay.io/*/*, app:1
  label=KEY[=VALUE]      a label
  before=IMAGE, since=IMAGE    made before or after that one
  until=TIME             made before a time, or so long ago: 2024-01-31, 24h
  id=ID, digest=DIGEST   begins so
  containers=BOOL        a container uses it
  dangling=BOOL, intermediate=BOOL, manifest=BOOL, readonly=BOOL    what it is`

// completeFilters lets the flag --filter complete to keys, which want a value.
func completeFilters(cmd *cobra.Command, keys []string) {
	// The flag is there, and gets no other function.
	_ = cmd.RegisterFlagCompletionFunc("filter", func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		if strings.Contains(word, "=") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return keys, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
}
