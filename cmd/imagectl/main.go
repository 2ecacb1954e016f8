// Command imagectl is the command line of imaged: it lists, inspects, names and removes container images, moves them between
// registries, archives and hosts, and watches the jobs that do so, by calling the daemon over Varlink.
//
// It is a client like any other: what it can do, every program can do with the same interfaces. Where no daemon
// listens at the default address it starts one for itself on a socket pair, which ends with it.
//
// Standard output carries the result alone, so that commands nest; talk, progress and errors go to standard error.
// Text that came from a registry, an image or the daemon is printed with its control characters and text-direction
// overrides escaped.
//
// It may import varlink, the packages of varlink/gen, cobra, mpb, go-humanize, x/term, x/sys and the standard library,
// never engine or service. Nothing imports it.
package main

import "os"

// version is imagectl's own; the linker sets it.
var version = "0.1.0"

func main() {
	os.Exit(Main(os.Args[1:], SystemStreams()))
}
