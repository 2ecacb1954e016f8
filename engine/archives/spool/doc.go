// Package spool makes an archive that comes in any way into one that can be read at any place: a file that is not
// compressed is left where it is, everything else is written once, decompressed, into a file without a name, which is
// gone when it is closed, or when the process is.
//
// What comes in is not trusted: how much it may become is bounded in bytes, in relation to what came in, and by what must stay
// free on the file system.
//
// Package spool imports engine/errdefs, the compression libraries and the standard library. Packages below
// engine/archives and the engine may import it.
package spool
