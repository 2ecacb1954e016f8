package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
)

func newAttachCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "attach JOB", Short: "Watch a job and get its result",
		Long: `Watch a job as its starter does: its newest progress, its last lines, and then its result, of which the ids of images
are printed, or the digest of what was copied. ^C leaves the job. It goes on if it was detached or another client watches it, and is cancelled otherwise.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs,
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		return a.withSession(ctx, func(s *session) error { return a.runAttach(ctx, s, args[0]) })
	})
	return cmd
}

func (a *app) runAttach(ctx context.Context, s *session, job string) error {
	w := work{
		doing: "watching", did: "done", subject: "job " + job,
		left: fmt.Sprintf("left job %s: it goes on if it was detached or another client watches it, and is cancelled otherwise", job),
	}
	var out jobs.AttachOut
	if err := a.finish(ctx, s, jobs.Interface+".Attach", jobs.AttachIn{Job: job}, &out, w); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(out)
	}
	var result struct {
		Digest string `json:"digest"` // of a push or a copy
		ID     string `json:"id"`     // of an import
	}
	if len(out.Result) > 0 {
		if err := varlink.Unmarshal(out.Result, &result); err != nil {
			return fmt.Errorf("result of job %s: %w", job, err)
		}
	}
	if one := result.Digest + result.ID; one != "" {
		return a.println(one)
	}
	return a.printLines(out.IDs)
}
