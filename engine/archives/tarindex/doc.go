// Package tarindex finds out where in a tar archive its files lie, so that they can be read in place, in any order and
// from several goroutines. It never writes anything anywhere: an archive that is only indexed cannot escape from where
// it is unpacked, as it is not unpacked.
//
// The archive is not trusted. Names that are absolute or have .. in them, hard links, devices, FIFOs and sparse files are
// refused. Symbolic links are kept as they are, and followed only by those who ask for it, within the archive.
//
// Package tarindex imports engine/errdefs and the standard library. Packages below engine/archives may import it.
package tarindex
