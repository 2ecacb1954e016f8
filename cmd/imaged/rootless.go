package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine"
)

const (
	// firstPassed is the first descriptor that an activation passes.
	firstPassed = 3
	// passedAside is the first of the descriptors that keep them while the program is run again in a user namespace: the
	// library that does so needs the lowest ones for itself.
	passedAside = 100
	// asideEnv says how many are there, and that this program was run again.
	asideEnv = "IMAGED_LISTEN_FDS_ASIDE"
)

// becomeRoot gives a daemon without root's rights those over its store, in a user namespace, and keeps the sockets that
// it was activated with. It returns in the process that goes on.
func becomeRoot() error {
	if os.Getenv(asideEnv) == "" && engine.Rootless() {
		if err := moveAside(); err != nil {
			return err
		}
		engine.EnterUserNamespace()
	}
	return moveBack()
}

// moveAside makes copies of passed descriptors that survive.
func moveAside() error {
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		count = 0
	}
	for i := range count {
		if err := unix.Dup3(firstPassed+i, passedAside+i, 0); err != nil {
			return fmt.Errorf("passed descriptor %d: %w", firstPassed+i, err)
		}
	}
	return os.Setenv(asideEnv, strconv.Itoa(count))
}

// moveBack puts the copies where they were, for this process.
func moveBack() error {
	count, _ := strconv.Atoi(os.Getenv(asideEnv))
	for i := range count {
		if err := unix.Dup3(passedAside+i, firstPassed+i, 0); err != nil {
			return fmt.Errorf("passed descriptor %d: %w", firstPassed+i, err)
		}
		if err := unix.Close(passedAside + i); err != nil {
			return fmt.Errorf("passed descriptor %d: %w", firstPassed+i, err)
		}
	}
	if count > 0 {
		return errors.Join(os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())), os.Unsetenv("LISTEN_PIDFDID"), os.Unsetenv(asideEnv))
	}
	return os.Unsetenv(asideEnv)
}
