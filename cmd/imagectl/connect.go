package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/info"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// session is the one connection of a run, to a daemon that runs or to one that was started for it.
type session struct {
	client  *varlink.Client
	private *privateDaemon // nil: the daemon was there before
}

func (s *session) images() *images.Client       { return images.NewClient(s.client) }
func (s *session) transfers() *transfers.Client { return transfers.NewClient(s.client) }
func (s *session) jobs() *jobs.Client           { return jobs.NewClient(s.client) }
func (s *session) info() *info.Client           { return info.NewClient(s.client) }

// close hangs up, and waits for a daemon that was started for this run.
func (s *session) close() error {
	closeQuietly(s.client)
	if s.private == nil {
		return nil
	}
	return s.private.wait()
}

// defaultAddress is where the daemon of this user listens; "" where the system gives the user no folder for it.
func defaultAddress(uid int, getenv func(string) string) string {
	if uid == 0 {
		return "unix:/run/imaged/imaged.sock"
	}
	folder := getenv("XDG_RUNTIME_DIR")
	if folder == "" {
		return ""
	}
	return "unix:" + filepath.Join(folder, "imaged", "imaged.sock")
}

// connect reaches the daemon that the flags mean. With none listening at the default address, or with flags that only
// a daemon of its own can heed, it starts one.
func (a *app) connect(ctx context.Context) (*session, error) {
	address := a.address
	if address == "" && !a.private.given() {
		address = defaultAddress(os.Getuid(), a.streams.Getenv)
	}
	if address == "" {
		return a.startPrivate(ctx)
	}
	client, err := varlink.Dial(ctx, address)
	switch {
	case err == nil:
		return &session{client: client}, nil
	case a.address == "" && nobodyListens(err):
		return a.startPrivate(ctx)
	}
	return nil, unreachable(address, err)
}

func nobodyListens(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

func unreachable(address string, err error) error {
	f := &failure{code: exitFailed, what: "imaged at " + address, why: err.Error(), err: err}
	switch {
	case errors.Is(err, fs.ErrPermission):
		f.code, f.next = exitAccess, "its socket is not for your user: be its owner or in its group, or leave --address and IMAGED_ADDRESS out for a daemon of your own"
	case nobodyListens(err):
		f.next = fmt.Sprintf("start it with imaged --address %s, or leave --address and IMAGED_ADDRESS out, and imagectl starts one for itself", address)
	default:
		f.next = "write the address as unix:/path or unix:@name"
		if errors.Is(err, varlink.ErrAddress) {
			f.code = exitUsage
		}
	}
	return f
}

// withSession runs f on a connection and closes it after. What the end of a self-started daemon tells
// joins f's own error, except that a hang-up that was asked for is no failure of the daemon's.
func (a *app) withSession(ctx context.Context, f func(*session) error) error {
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	err = brokenAs(ctx, f(s))
	closeErr := s.close()
	switch {
	case closeErr == nil:
		return err
	case err == nil:
		return closeErr
	}
	if !errors.Is(err, varlink.ErrClosed) || ctx.Err() != nil {
		return err
	}
	// The daemon died under the call: how says more than the broken connection.
	return closeErr
}

// brokenAs says what a connection that ended by itself means.
func brokenAs(ctx context.Context, err error) error {
	if err == nil || !errors.Is(err, varlink.ErrClosed) || ctx.Err() != nil {
		return err
	}
	if several, ok := errors.AsType[*failures](err); ok {
		last := len(several.errs) - 1
		several.errs[last] = brokenAs(ctx, several.errs[last])
		return err
	}
	return &failure{
		code: exitFailed, what: "imaged ended the connection", why: err.Error(),
		next: "its log tells why; try again once it runs", err: err,
	}
}
