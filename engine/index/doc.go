// Package index answers what is in a store without ever taking a lock of it.
//
// The storage library keeps its records (images.json, layers.json, containers.json) in files that it replaces in one
// step, so they can be read at any time. What the data beside a record says of an image (configuration, history)
// can never change for its digest, so it is read once and remembered. A snapshot costs a few system calls as long as
// nothing changed, and what other programs change is seen at once.
//
// A record that is broken, or whose data is, is kept with what is known of it.
//
// Package engine and its sub-packages may import it, nothing else may.
package index
