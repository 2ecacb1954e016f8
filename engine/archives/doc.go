// Package archives reads images out of archives: docker-archive and oci-archive, and a docker-dir or an oci-dir as a
// folder or as a tar of one, compressed or not. What kind it is shows its content.
//
// # Nothing is unpacked
//
// The libraries extract an oci-archive into a temporary folder before they look at it, with a function that follows
// links out of that folder: whoever could have such an archive loaded could write any file of the host (CVE-2025-11395). Here
// an archive is indexed (package tarindex) and its blobs are read in place. Only one that is compressed, or that
// comes through a pipe, is written down once, as it is but decompressed, into a file that has no name (package spool).
//
// # Nothing is believed
//
// Manifests, configurations and their digests are checked as the archive is opened; the digests of layers when they
// are copied, by the library that copies. While a layer is read, it is held against limits on what it unpacks to,
// so that a small archive cannot fill a disk.
//
// # Who may import it
//
// Package engine.
package archives
