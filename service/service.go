// Package service puts the engine's verbs behind the Varlink interfaces: each method decodes nothing, calls one verb and
// translates its answer. It holds no state of its own, starts no goroutine and knows one policy, who may call what.
// Only commands may import it.
package service

import (
	"context"
	"fmt"
	"os"

	"github.com/sirupsen/logrus"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/info"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
	"github.com/imaged-project/imaged/varlink/gen/systemdservice"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// Version and Commit tell what was built; the linker sets them.
var (
	Version = "0.1.0"
	Commit  = ""
)

// URL is where the project lives.
const URL = "https://github.com/imaged-project/imaged"

// Register puts all interfaces over e on s, with the policy of this package. log gets what goes wrong in a call, never its
// parameters. The caller sets limits before, and serves after.
func Register(s *varlink.Server, e *engine.Engine, log *logrus.Logger) error {
	s.Vendor, s.Product, s.Version, s.URL = "imaged", "imaged", Version, URL
	s.Log, s.Authorize, s.InternalError, s.Busy = log, authorize, internalError, e.Jobs().Busy
	api := []string{images.Interface, info.Interface, jobs.Interface, transfers.Interface, systemdservice.Interface}
	for _, i := range []varlink.Interface{
		images.New(imagesService{e}),
		info.New(infoService{e, s, api}),
		jobs.New(jobsService{e}),
		transfers.New(transfersService{e}),
		systemdservice.New(systemdService{log}),
	} {
		if err := s.Register(i); err != nil {
			return fmt.Errorf("interface %s: %w", i.Name, err)
		}
	}
	return nil
}

// authorize lets nobody but root and the daemon's own user ask for what concerns the daemon itself, nor for anything on an
// abstract socket, which has no mode to say more, unless it is one for everybody to read on. Everything else is decided by
// the socket's mode and, for methods that change something, by which socket it is.
func authorize(_ context.Context, c *varlink.Call) error {
	private := c.AbstractSocket() && !c.ReadOnlySocket()
	switch c.Method() {
	case systemdservice.Interface + ".SetLogLevel", systemdservice.Interface + ".GetEnvironment":
		private = true
	}
	if private && !trusted(c.Peer()) {
		return &varlink.PermissionDeniedError{}
	}
	return nil
}

// trusted tells whether a peer is root or the daemon's own user.
func trusted(p varlink.Peer) bool {
	return p.UID == 0 || own(p)
}

// own tells whether a peer is the daemon's own user, whose paths the daemon may open.
func own(p varlink.Peer) bool {
	return int(p.UID) == os.Getuid()
}
