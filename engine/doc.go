// Package engine does the work on container images: it opens the local store, answers what is in it, names and
// removes images, and runs the long operations as jobs. It knows nothing of how it is called.
//
// # Reads never wait for writes
//
// The storage library unpacks a layer under the store's layer lock, for seconds. So the verbs that only read (List,
// Get, Inspect, Exists, Resolve, History, Tree, Layers, Diff, DiskUsage, Watch, Info) take no lock of the store at all: package index reads the store's
// records, which are replaced in one step on disk, and remembers per image id what cannot change. What other
// programs do to the store is seen at the next call.
//
// # Writes
//
// Verbs that change an image hold a lock of that image, and answer only after a syncfs of the store's file system: what was
// acknowledged survives a power cut. The store's own locks keep other programs away. What was done is published (package
// events) for those who watch, before the image's lock is given back.
//
// # The race detector
//
// The storage library has one data race that its authors know and call benign: lockfile's AssertLocked reads a
// field that another reader of the same lock sets to the value it has already. Everything that reads the store
// in two goroutines trips it, a pull of two layers for example. Tests that use a store therefore run through
// enginetest.Main, which tells the race detector to leave out reports with that one function in them, and no other.
//
// # Who may import it
//
// Package service and cmd/imaged. Only this package and those below it import github.com/containers.
package engine
