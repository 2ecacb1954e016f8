package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/imaged-project/imaged/varlink"
)

const (
	// remoteReply bounds what is kept of what imagectl on another host prints, in bytes, and remoteWords of what it says.
	remoteReply = 4 << 20
	remoteWords = 64 << 10
	// sshFailed is the code that ssh itself ends with, and notThere what a shell ends with that does not find a program.
	sshFailed, notThere = 255, 127
	// sshGrace is how long ssh may take to end after it was asked to.
	sshGrace = 5 * time.Second
)

// remote runs imagectl on another host, over ssh, with a file for its standard input or output; what it prints, if out is
// nil, is given. Its errors tell what failed over there.
func (a *app) remote(ctx context.Context, ssh string, p peer, in, out *os.File, args ...string) ([]byte, error) {
	var sshArgs []string
	if p.port != "" {
		sshArgs = append(sshArgs, "-p", p.port)
	}
	command := "imagectl --quiet --json"
	for _, arg := range args {
		command += " " + quote(arg)
	}
	sshArgs = append(sshArgs, "-T", "--", p.login(), command)
	printed, said := &tail{limit: remoteReply}, &tail{limit: remoteWords}
	cmd := exec.CommandContext(ctx, cmp.Or(ssh, "ssh"), sshArgs...)
	cmd.Stdout, cmd.Stderr = printed, said
	if in != nil {
		cmd.Stdin = in
	}
	if out != nil {
		cmd.Stdout = out
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = sshGrace
	err := cmd.Run()
	if err == nil {
		return []byte(printed.String()), nil
	}
	if ctx.Err() != nil {
		return nil, interrupted("copy over ssh cancelled")
	}
	return nil, remoteError(p, err, said.String())
}

// remoteJSON is remote for a command whose reply is decoded.
func (a *app) remoteJSON(ctx context.Context, ssh string, p peer, in *os.File, reply any, args ...string) error {
	printed, err := a.remote(ctx, ssh, p, in, nil, args...)
	if err != nil {
		return err
	}
	if err := varlink.Unmarshal(bytes.TrimSpace(printed), reply); err != nil {
		return &failure{
			code: exitFailed, what: "imagectl on " + p.login(), why: "its reply cannot be understood: " + err.Error(),
			next: "check that the two hosts have the same version, and that nothing there prints text at login", err: err,
		}
	}
	return nil
}

// remoteError tells how imagectl on another host failed, with the code it ended with: ssh passes it on.
func remoteError(p peer, err error, said string) error {
	f := &failure{code: exitFailed, what: "ssh to " + p.login(), why: err.Error(), next: "try ssh " + p.login() + " by hand", err: err}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		f.next = "install ssh, or name another program by --ssh or IMAGECTL_SSH"
		return f
	}
	f.why = cmp.Or(remoteMessage(said), f.why)
	switch code := exit.ExitCode(); code {
	case sshFailed, -1:
		return f
	case notThere:
		f.next = "install imagectl there, in a folder of the PATH that ssh's commands have"
	default:
		f.what, f.next = "imagectl on "+p.login(), ""
		if code <= exitInUse {
			f.code = code
		}
	}
	return f
}

// remoteMessage finds the message in what imagectl on another host said: its errors come as replies there.
func remoteMessage(said string) string {
	said = strings.TrimSpace(said)
	last := said[strings.LastIndexByte(said, '\n')+1:]
	var reply errorReply
	if err := json.Unmarshal([]byte(last), &reply); err != nil || reply.Error == "" {
		return strings.TrimPrefix(said, "imagectl: ")
	}
	return errorText(fmt.Errorf("it failed with %s", reply.Error), reply.Error, reply.Parameters)
}

// quote writes an argument so that a POSIX shell takes it for one, whatever is in it.
func quote(arg string) string {
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
