package engine

import (
	"os"

	"github.com/containers/storage/pkg/homedir"
	"github.com/containers/storage/pkg/unshare"
	"github.com/sirupsen/logrus"
)

// EnterUserNamespace runs this program again as root of a user namespace, if it has no rights over the store otherwise,
// waits for it and exits with its code; in there, and for root, it does nothing. Descriptors 3 and 4 are lost on the way.
// It comes after InitReexec and before anything else; a failure ends the program with a line in logrus's standard log.
func EnterUserNamespace() {
	if Rootless() && os.Getenv("XDG_RUNTIME_DIR") == "" {
		// Inside, the library would look for credentials in the folder of the user 0, which is the host's root's.
		dir, err := homedir.GetRuntimeDir()
		if err == nil {
			err = os.Setenv("XDG_RUNTIME_DIR", dir)
		}
		if err != nil {
			logrus.Warnf("credentials: no runtime directory of this user: %v; set XDG_RUNTIME_DIR", err)
		}
	}
	unshare.MaybeReexecUsingUserNamespace(false)
}

// User returns the uid that this program was started with, in the user namespace too, where it is root.
func User() int { return unshare.GetRootlessUID() }

// Rootless tells whether this program has no root's rights, or has them only in a user namespace.
func Rootless() bool { return unshare.IsRootless() }
