package transfers_test

import (
	"context"
	"fmt"
	"log"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// Pull an image and show how far it is; the last reply has the result.
func ExampleClient_PullStream() { //nolint:deadcode // compiled, not run: it needs a daemon
	ctx := context.Background()
	conn, err := varlink.Dial(ctx, "unix:/run/imaged/imaged.sock")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	in := transfers.PullIn{Reference: "quay.io/podman/hello:latest", Policy: transfers.PullPolicyNewer}
	for out, err := range transfers.NewClient(conn).PullStream(ctx, in) {
		if err != nil {
			log.Fatal(err)
		}
		if out.Progress != nil {
			fmt.Println(out.Progress.Phase, out.Progress.Done, "bytes")
		}
		for _, id := range out.IDs {
			fmt.Println("pulled", id)
		}
	}
}
