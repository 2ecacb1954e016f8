package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink/gen/jobs"
)

// jobsOptions are the flags of jobs.
type jobsOptions struct {
	ids, noHeading, running bool
	format                  string
}

func newJobsCommand(a *app) *cobra.Command {
	o := &jobsOptions{}
	cmd := &cobra.Command{
		Use: "jobs", Short: "List the daemon's long operations",
		Long: `List the jobs you may see, oldest first: those that run, and those that ended in the last 10 minutes.`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.format, "format", "", "json, or a Go `template` for each line; with \"table \" before it, in columns")
	flags.BoolVarP(&o.ids, "quiet", "q", false, "show ids alone")
	flags.BoolVarP(&o.noHeading, "noheading", "n", false, "show no heads")
	flags.BoolVar(&o.running, "running", false, "show only jobs that run")
	cmd.RunE = a.run(func(ctx context.Context, _ []string) error {
		return a.withSession(ctx, func(s *session) error { return a.runJobs(ctx, s, o) })
	})
	return cmd
}

func (a *app) runJobs(ctx context.Context, s *session, o *jobsOptions) error {
	list := jobs.ListOut{Jobs: []jobs.Job{}}
	for reply, err := range s.jobs().ListStream(ctx, jobs.ListIn{}) {
		if err != nil {
			return err
		}
		for _, job := range reply.Jobs {
			if !o.running || job.State == jobs.StateRunning {
				list.Jobs = append(list.Jobs, job)
			}
		}
	}
	switch {
	case a.json:
		return a.printJSON(list)
	case o.format == "json":
		return a.printJSON(list.Jobs)
	case o.format != "":
		f, err := parseFormat(o.format, nil)
		if err != nil {
			return err
		}
		return f.print(a.streams.Out, o.noHeading, anyOf(list.Jobs)...)
	}
	return a.printJobs(list.Jobs, o)
}

func (a *app) printJobs(list []jobs.Job, o *jobsOptions) error {
	t := &table{}
	if !o.ids && !o.noHeading {
		t.add("JOB", "METHOD", "SUBJECT", "STATE", "STARTED", "WATCHERS", "PROGRESS")
	}
	for _, job := range list {
		if o.ids {
			t.add(job.ID)
			continue
		}
		method := job.Method[strings.LastIndexByte(job.Method, '.')+1:]
		t.add(job.ID, method, job.Subject, string(job.State), a.since(job.Started), fmt.Sprint(job.Watchers), jobProgress(job))
	}
	return t.print(a.streams.Out)
}

// jobProgress tells how far a job is, or how it failed.
func jobProgress(job jobs.Job) string {
	switch {
	case job.Error != nil:
		return (*job.Error)[strings.LastIndexByte(*job.Error, '.')+1:]
	case job.Progress == nil:
		return ""
	case job.Progress.Total == nil:
		return size(job.Progress.Done)
	}
	return size(job.Progress.Done) + " of " + size(*job.Progress.Total)
}

func newCancelCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "cancel JOB...", Short: "Cancel jobs",
		Long: `Cancel jobs for all who watch them. A job that has ended already is left as it is.`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeJobs,
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		return a.withSession(ctx, func(s *session) error {
			var errs []error
			for _, job := range args {
				reply, err := s.jobs().Cancel(ctx, jobs.CancelIn{Job: job})
				if err := a.printEmpty(reply, err); err != nil {
					errs = append(errs, err)
				}
			}
			return all(errs)
		})
	})
	return cmd
}
