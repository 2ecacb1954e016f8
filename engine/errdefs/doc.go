// Package errdefs holds the errors of the engine: one type for each error of the interface files.
//
// Every type's Error method returns the complete message for a person: what failed with its full name, why in the
// system's or registry's own words, and what to do next. Its fields are the error's parameters for a program.
// A type that stands for a deeper failure keeps it in Err and unwraps to it; Err may be nil. Values are made once,
// never changed after, and so are safe for concurrent use. Use errors.As with a pointer to tell them apart.
//
// No field ever holds a credential. Whoever fills Reason or Err from a library's text cuts user information out of
// URLs first.
//
// Package errdefs imports only the standard library. The engine, its sub-packages and package service may import it.
package errdefs
