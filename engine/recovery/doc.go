// Package recovery finds out what an engine that did not end well has left in a store, and puts it right before the
// next one serves.
//
// The storage library says that a layer is written when the kernel has it in memory. If the power goes then, the layer's
// record is on the disk and its files are empty, and whoever pulls an image with this layer later takes it as it is. So
// an engine keeps a [Journal] in the store: since when it has been changing the store without a point at which all was
// on the disk, and which layers and images it is making or removing. An engine that ends well takes its journal
// away. One that is found at start, with nobody alive who has it locked, makes [Recovery] check what was written since, and
// remove what is damaged or half made. What other programs are doing is left alone.
//
// Names of files are the file system's own care: all that are in use for stores keep them in order in their journals.
// What is checked is what they do not promise: the content.
//
// Only package engine may import it.
package recovery
