package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes of imagectl. They are part of its interface: scripts depend on them.
const (
	// exitDone: it was done.
	exitDone = 0
	// exitFailed: it failed, for a reason that has no code of its own.
	exitFailed = 1
	// exitUsage: the command line, a reference or a parameter is wrong; nothing was tried.
	exitUsage = 2
	// exitNotFound: the image, reference, job or other thing that was named is not there.
	exitNotFound = 3
	// exitAccess: credentials are missing or refused, or the access is not allowed.
	exitAccess = 4
	// exitInUse: something else uses the image or holds the store.
	exitInUse = 5
	// exitInterrupted: a signal ended it.
	exitInterrupted = 130
)

// exitHelp is what `imagectl help exit-codes` prints.
const exitHelp = `imagectl ends with one of these codes:

  0    done
  1    failed, for a reason that has no code of its own
  2    usage: the command line, a reference or a parameter is wrong
  3    not found: no such image, reference in its registry, job;
       also what exists answers for an image that is not there
  4    authentication or access: credentials missing or refused, access denied
  5    in use: containers use the image, or another program holds the store
  130  interrupted (^C, or another signal that asks to end)

With several names the first failure decides.`

// exitCodes gives the code for the bare name of each error that has one of its own.
var exitCodes = map[string]int{
	"InvalidParameter":       exitUsage,
	"InvalidReference":       exitUsage,
	"InvalidFormat":          exitUsage,
	"InterfaceNotFound":      exitUsage,
	"MethodNotFound":         exitUsage,
	"ExpectedMore":           exitUsage,
	"ExpectedUpgrade":        exitUsage,
	"ImageNotFound":          exitNotFound,
	"ReferenceNotFound":      exitNotFound,
	"ManifestNotFound":       exitNotFound,
	"ContainerNotFound":      exitNotFound,
	"JobNotFound":            exitNotFound,
	"AuthenticationRequired": exitAccess,
	"AccessDenied":           exitAccess,
	"PermissionDenied":       exitAccess,
	"ImageInUse":             exitInUse,
	"StoreBusy":              exitInUse,
}

// exitCode tells the code that an error ends imagectl with.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if several, ok := errors.AsType[*failures](err); ok {
		return exitCode(several.errs[0])
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	if name, _, ok := remote(err); ok {
		return exitCodeOf(name)
	}
	return exitFailed
}

// exitCodeOf tells the code for an error's name, full or bare.
func exitCodeOf(name string) int {
	if code, ok := exitCodes[name[strings.LastIndexByte(name, '.')+1:]]; ok {
		return code
	}
	return exitFailed
}

func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "The codes imagectl ends with", Long: exitHelp}
}
