package story

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/imaged-project/imaged/tests/registrytest"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
)

// commands are what scripts have beside testscript's own:
//
//	registry NAME [USER:PASSWORD]       starts a registry; $NAME is its host and port
//	image NAME REFERENCE [KEY=VALUE]... puts an image into it: layers, size, platform, seed, label=KEY=VALUE
//	web NAME                            serves the work folder over HTTP; $NAME is its host and port
//	misbehave NAME PATH STATUS          answers requests for a part of a path with an error
//	stall NAME PATH                     holds such answers until release
//	release
//	requested NAME PATH                 waits until a request for such a path came
//	downloads NAME MAX                  fails if a blob was downloaded more often
//	daemon                              starts imaged by socket activation; $IMAGED_ADDRESS names it
//	stopdaemon                          ends it by SIGTERM
//	watchers N                          waits until the newest job has so many; $JOB is its id
//	jobstate STATE                      waits until the newest job is in a state
//	exits CODE COMMAND...               runs a command and compares its exit code
//	awaitfile FILE REGEXP               waits until a line of a file matches
//	capture NAME                        puts the first line of the last stdout into $NAME
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"registry":   command(1, cmdRegistry),
	"image":      command(2, cmdImage),
	"web":        command(1, cmdWeb),
	"awaitfile":  command(2, cmdAwaitFile),
	"misbehave":  command(3, cmdMisbehave),
	"stall":      command(2, cmdStall),
	"release":    command(0, func(_ *testscript.TestScript, w *world, _ []string) error { w.release(); return nil }),
	"requested":  command(2, cmdRequested),
	"downloads":  command(2, cmdDownloads),
	"daemon":     command(0, cmdDaemon),
	"stopdaemon": command(0, cmdStopDaemon),
	"watchers":   command(1, cmdWatchers),
	"jobstate":   command(1, cmdJobState),
	"exits":      command(2, cmdExits),
	"capture":    command(1, cmdCapture),
}

// command makes a testscript command of a function that gets the script's world and at least so many arguments.
func command(least int, f func(*testscript.TestScript, *world, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < least {
			ts.Fatalf("not negatable, and wants %d arguments or more", least)
		}
		ts.Check(f(ts, ts.Value("world").(*world), args))
	}
}

func cmdRegistry(ts *testscript.TestScript, w *world, args []string) error {
	opts := registrytest.Options{}
	if len(args) > 1 {
		user, password, _ := strings.Cut(args[1], ":")
		opts = registrytest.Options{Auth: registrytest.AuthBearer, Username: user, Password: password}
	}
	r, err := registrytest.Start(opts)
	if err != nil {
		return err
	}
	w.registries[args[0]] = r
	ts.Setenv(args[0], r.Host())
	return nil
}

func cmdImage(ts *testscript.TestScript, w *world, args []string) error {
	var opts registrytest.ImageOptions
	for _, arg := range args[2:] {
		key, value, _ := strings.Cut(arg, "=")
		var err error
		switch key {
		case "layers":
			opts.Layers, err = strconv.Atoi(value)
		case "size":
			opts.LayerSize, err = strconv.ParseInt(value, 10, 64)
		case "platform":
			opts.Platform = value
		case "seed":
			opts.Seed, err = strconv.ParseUint(value, 10, 64)
		case "label":
			name, text, _ := strings.Cut(value, "=")
			opts.Labels = map[string]string{name: text}
		default:
			err = errors.New("unknown option " + key)
		}
		if err != nil {
			return err
		}
	}
	digest, err := w.registries[args[0]].Push(args[1], opts)
	ts.Setenv("DIGEST", digest)
	return err
}

func cmdWeb(ts *testscript.TestScript, w *world, args []string) error {
	server := httptest.NewServer(http.FileServer(http.Dir(w.folder)))
	w.servers = append(w.servers, server)
	ts.Setenv(args[0], server.Listener.Addr().String())
	return nil
}

func cmdAwaitFile(ts *testscript.TestScript, _ *world, args []string) error {
	line, err := regexp.Compile("(?m)" + args[1])
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; {
		// Until the program that writes it has begun, it is not there.
		text, _ := os.ReadFile(ts.MkAbs(args[0]))
		if line.Match(text) {
			return nil
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %s in %s:\n%s", args[1], args[0], text)
		}
		// What another program writes cannot be waited for.
		time.Sleep(5 * time.Millisecond)
	}
}

func cmdMisbehave(_ *testscript.TestScript, w *world, args []string) error {
	status, err := strconv.Atoi(args[2])
	w.registries[args[0]].Misbehave(registrytest.Rule{Path: args[1], Fault: registrytest.Fault{Status: status}})
	return err
}

func cmdStall(_ *testscript.TestScript, w *world, args []string) error {
	stall := make(chan struct{})
	w.stalled = append(w.stalled, stall)
	w.registries[args[0]].Misbehave(registrytest.Rule{Path: args[1], Fault: registrytest.Fault{Stall: stall, After: 1}})
	return nil
}

func cmdRequested(ts *testscript.TestScript, w *world, args []string) error {
	for deadline := time.Now().Add(patience); w.registries[args[0]].Count("", args[1]) == 0; {
		if time.Now().After(deadline) {
			ts.Fatalf("no request for %s", args[1])
		}
		// The registry's record cannot be waited for.
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

func cmdDownloads(ts *testscript.TestScript, w *world, args []string) error {
	most, err := strconv.Atoi(args[1])
	for digest, count := range w.registries[args[0]].Downloads() {
		if count > most {
			ts.Fatalf("%s was downloaded %d times", digest, count)
		}
	}
	return err
}

func cmdDaemon(ts *testscript.TestScript, w *world, _ []string) error {
	environment := os.Environ()
	for _, name := range []string{"PATH", "HOME", "XDG_RUNTIME_DIR", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF"} {
		environment = append(environment, name+"="+ts.Getenv(name))
	}
	var err error
	if w.daemon, err = startDaemon(w.folder, environment); err == nil {
		ts.Setenv("IMAGED_ADDRESS", w.daemon.address)
	}
	return err
}

func cmdStopDaemon(_ *testscript.TestScript, w *world, _ []string) error {
	d := w.daemon
	w.daemon = nil
	return d.stop()
}

func cmdWatchers(ts *testscript.TestScript, w *world, args []string) error {
	want, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	job, err := w.daemon.awaitJob(func(j jobs.Job) bool { return j.Watchers == want })
	ts.Setenv("JOB", job)
	return err
}

func cmdJobState(ts *testscript.TestScript, w *world, args []string) error {
	job, err := w.daemon.awaitJob(func(j jobs.Job) bool { return string(j.State) == args[0] })
	ts.Setenv("JOB", job)
	return err
}

func cmdExits(ts *testscript.TestScript, _ *world, args []string) error {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		return err
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	return nil
}

func cmdCapture(ts *testscript.TestScript, _ *world, args []string) error {
	line, _, _ := strings.Cut(ts.ReadFile("stdout"), "\n")
	ts.Setenv(args[0], line)
	return nil
}
