package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/service"
	"github.com/imaged-project/imaged/varlink"
)

// grace is how long running operations may take to end once a signal asked for it; systemd's default is 90 s. lostGrace
// is how long a daemon without a store answers: operations that wait for a lock will wait for ever.
const (
	grace     = 60 * time.Second
	lostGrace = 2 * time.Second
)

// run serves until a signal, idleness or the end of the only client.
func run(ctx context.Context, o options, stderr io.Writer) (err error) {
	wiped := wipeEnvironment()
	if err := becomeRoot(); err != nil { // before the log talks more: the library would write the environment into it
		return err
	}
	if err := setUpLog(o.logLevel, stderr); err != nil {
		return err
	}
	if wiped != nil {
		logrus.Warnf("secrets in the environment stay in /proc: %v", wiped)
	}
	if err := hideEnvironment(); err != nil {
		return err
	}
	if err := closeStdin(); err != nil {
		return err
	}
	shareProcessors()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer signal.Stop(signals)
	sockets, err := open(o)
	if err != nil {
		return err
	}
	defer sockets.close()
	e, server, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	defer answer(server)
	if sockets.activated {
		server.IdleTimeout = o.idle
	}
	go obey(signals, server, e)
	go leave(server, e)
	notify(daemon.SdNotifyReady)
	return serve(server, sockets)
}

// start opens the store and makes the server, with the limits that were asked for.
func start(ctx context.Context, o options) (*engine.Engine, *varlink.Server, error) {
	server := new(varlink.Server)
	for name, value := range o.limits {
		if value > 0 && service.SetLimit(server, name, value) { // the engine refuses others, whatever the name
			continue
		}
		if err := o.store.SetLimit(name, value); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errUsage, err)
		}
	}
	o.store.Log = logrus.StandardLogger()
	e, err := engine.Open(ctx, o.store)
	if err != nil {
		return nil, nil, err
	}
	if err := service.Register(server, e, logrus.StandardLogger()); err != nil {
		return nil, nil, errors.Join(err, e.Close())
	}
	return e, server, nil
}

// shareProcessors lets the kernel decide which goroutines run. It gives a short call a processor within a millisecond or
// two, but Go's own scheduler lets it wait until those that compress have had their 10 ms each.
func shareProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(4 * runtime.GOMAXPROCS(0))
	}
}

// closeStdin puts /dev/null on standard input: the libraries would ask whoever sits there which registry a short name
// means, and under varlinkctl's exec: it is the caller's terminal.
func closeStdin() error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	defer null.Close() //nolint:errcheck // nothing was written
	return unix.Dup3(int(null.Fd()), int(os.Stdin.Fd()), 0)
}

// answer waits for the last replies of a server that has stopped: Serve returns before they are sent.
func answer(server *varlink.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_ = server.Shutdown(ctx) // whoever stopped the server says what was wrong
}

// obey does what signals ask for, for as long as the process lives.
func obey(signals <-chan os.Signal, server *varlink.Server, e *engine.Engine) {
	for s := range signals {
		if s == unix.SIGHUP {
			notify(daemon.SdNotifyReloading)
			if err := e.Reload(); err != nil {
				logrus.Errorf("reading the configuration anew: %v", err)
			}
			notify(daemon.SdNotifyReady)
			continue
		}
		notify(daemon.SdNotifyStopping)
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		if err := server.Shutdown(ctx); err != nil {
			logrus.Errorf("some calls did not end in time: %v", err)
		}
		cancel()
		return
	}
}

// leave ends the process when the engine has lost its store: a new one begins afresh.
func leave(server *varlink.Server, e *engine.Engine) {
	<-e.Lost()
	notify(daemon.SdNotifyStopping)
	ctx, cancel := context.WithTimeout(context.Background(), lostGrace)
	defer cancel()
	_ = server.Shutdown(ctx) // some will not be answered
	logrus.Exit(exitFailed)
}

// notifySocket is systemd's; it is taken out of the environment so that neither the libraries nor children write to it.
var notifySocket = os.Getenv("NOTIFY_SOCKET")

// notify tells systemd how the service stands, if systemd wants to know.
func notify(state string) {
	if notifySocket == "" {
		return
	}
	err := os.Setenv("NOTIFY_SOCKET", notifySocket)
	if err == nil {
		_, err = daemon.SdNotify(true, state)
	}
	if err != nil {
		logrus.Warnf("systemd not told %q: %v", state, err)
	}
}
