// Package names knows what references to images look like: how they are checked, completed and matched, and how
// platforms are.
//
// Nothing but a complete, valid text gets through: a name with a control character or a transport in front is an
// InvalidReference, and never happens to match something.
//
// Package engine and its sub-packages may import it, and package service for Platform.
package names
