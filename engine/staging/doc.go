// Package staging unpacks layers beside a store, all at once and without its locks, and then puts them into it.
//
// The storage library unpacks a layer under the store's layer lock, one after the other, from a temporary file that it
// has decompressed once before to learn the digest. Here a layer goes from where it comes from straight into a folder of
// its own: it is decompressed once, and on that way its digests are taken, its headers are kept for those who want the
// layer back (tar-split), and what it unpacks to is held against limits. When all of that is right, the folder
// becomes a layer of the store by being renamed. The result is the one that the library makes, file by file; only the
// compression and the compressed length of what came are not noted, which nothing but a listing shows.
//
// One thing is left out: what a layer says to the file system overlay by attributes of its own, which only the store may.
//
// Foreign bytes meet files only in the library's own helper process, which has the folder as the root of its file
// system. It never gets a header that the limits did not see before, and it can be killed at any time.
//
// Package engine may import it, nothing else may.
package staging
