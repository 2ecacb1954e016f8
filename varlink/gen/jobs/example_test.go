package jobs_test

import (
	"context"
	"fmt"
	"log"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
)

// Wait for every job that still runs.
func Example() { //nolint:deadcode // compiled, not run: it needs a daemon
	ctx := context.Background()
	conn, err := varlink.Dial(ctx, "unix:/run/imaged/imaged.sock")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := jobs.NewClient(conn)
	list, err := client.List(ctx, jobs.ListIn{})
	if err != nil {
		log.Fatal(err)
	}
	for _, job := range list.Jobs {
		if job.State != jobs.StateRunning {
			continue
		}
		out, err := client.Wait(ctx, jobs.WaitIn{Job: job.ID})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(job.Subject, out.Job.State)
	}
}
