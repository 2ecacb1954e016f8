package systemdservice_test

import (
	"context"
	"log"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/systemdservice"
)

// Make a daemon log everything.
func Example() { //nolint:deadcode // compiled, not run: it needs a daemon
	ctx := context.Background()
	conn, err := varlink.Dial(ctx, "unix:/run/imaged/imaged.sock")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	const debug = 7
	if _, err := systemdservice.NewClient(conn).SetLogLevel(ctx, systemdservice.SetLogLevelIn{Level: debug}); err != nil {
		log.Fatal(err)
	}
}
