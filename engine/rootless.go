package engine

import "github.com/containers/storage/pkg/unshare"

// EnterUserNamespace runs this program again as root of a user namespace, if it has no rights over the store otherwise,
// waits for it and exits with its code; in there, and for root, it does nothing. Descriptors 3 and 4 are lost on the way.
// It comes after InitReexec and before anything else; a failure ends the program with a line in logrus's standard log.
func EnterUserNamespace() { unshare.MaybeReexecUsingUserNamespace(false) }

// Rootless tells whether this program has no root's rights, or has them only in a user namespace.
func Rootless() bool { return unshare.IsRootless() }
