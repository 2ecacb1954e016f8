// Package progress counts how far an operation is.
//
// A Tracker is fed by whoever moves the bytes and read by whoever shows them. Each layer has two phases: it is
// transferred, then unpacked; the bytes of an operation are those that are transferred. What was already here is
// counted apart, as Cached, and is no part of Done or Total.
//
// Done never goes back. When a retry fetches a blob anew, the blob's own Offset starts again, but Done stands still
// until the blob is past the point it had reached before. Total may shrink while the operation finds blobs that
// are already here.
//
// Package progress imports only the standard library. The engine, its sub-packages and package service may import it.
package progress
