// Package layerdiff compares two file systems that are made of layers, by what their tars' headers say. No file is
// opened, nothing is mounted: a header and the checksum that was kept with it tell a file from another.
//
// A Comparison takes the layers of both sides, base first, in the form in which the storage library keeps a layer's headers
// (ReadSplit) or as a tar (ReadTar). A layer that both sides have is read once. Memory is bounded by the limit that
// the comparison is made with, whatever the layers say.
//
// Only package engine may import it.
package layerdiff
