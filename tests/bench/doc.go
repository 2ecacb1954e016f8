// Package bench measures imaged beside other programs that do the same: varlink/go, ttrpc and gRPC-go for calls, and
// podman and skopeo of the Debian that make trixie unpacks for work on images. Whoever is compared takes turns with
// imaged in one run, and medians are set side by side, so that the ratios mean something on any machine. Nothing fails
// for being slow.
//
// make bench runs it; make bench ROWS=rpc, or ROWS=images/save, a part. It is a module of its own, so that none of the
// peers is a dependency of imaged. Nothing imports it.
package bench
