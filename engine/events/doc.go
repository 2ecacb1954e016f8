// Package events tells whoever wants to know what happens to the images of a store: what this process does, as it says
// so (Hub.Publish), and what other programs do, as the store shows it.
//
// # Two sources, one story
//
// A hub that is listened to keeps in mind which images there are and what they are called. What is published
// changes that, and so does what a look at the store finds, at which the difference is told. Whichever comes
// first tells it, the other finds nothing new: an own change is told once, however soon the store is looked at.
//
// A new image does not show whether it was pulled, loaded or built. It is taken for one that another program pulled, unless
// this process is bringing images in itself (Hub.Begin): then it has a moment to say what it did.
//
// A hub that nobody listens to does nothing.
//
// # Who may import it
//
// Package engine.
package events
