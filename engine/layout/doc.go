// Package layout writes images in the forms that they have outside a store: an OCI layout, and the folder of the
// library's dir transport. Either becomes a folder, or a tar that is written from front to back as the blobs come.
//
// A tar's entry begins with its name and length. An uncompressed layer's are known before it is read. Those of a
// layer that is compressed on its way are not: where the tar is a regular file its header is put in place
// afterwards; where it is a stream the compressed layer, one at a time, waits in a temporary file that has no name.
//
// The same image gives the same bytes every time: no entry has a time, an owner or another trace of where it was made.
//
// The destinations are written to by the library's copy, which checks digests, compresses and converts.
//
// Package engine may import it, nothing else may.
package layout
