// Package direct reads images out of a store without its locks and without copies.
//
// The storage library exports a layer under the store's layer lock, into a temporary file, and the reader gets that.
// But all that is needed lies in two places that never change for a layer: the tar's headers and padding, which were
// kept when the layer was unpacked (tar-split), and the folder that its files were unpacked into. A source of this
// package puts them together again, byte for byte, as they are read. Each file is held against the checksum that
// was kept with it, and whoever reads a whole layer checks its digest.
//
// A file is looked up as if the layer's folder were the root of the file system: links that an image put into its
// layer lead nowhere else. That matters, since a name in the headers may lead through a link that came later.
//
// Where it is not possible (another driver than overlay and vfs, no headers kept, files in a composefs) the library's way is
// taken, layer by layer.
//
// Whoever reads an image keeps others from removing it meanwhile.
//
// Package engine may import it, nothing else may.
package direct
