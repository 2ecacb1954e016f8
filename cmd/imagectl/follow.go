package main

import (
	"context"
	"fmt"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
)

// work says in words what a job does, for people who watch it.
type work struct {
	doing   string // "pulling"
	did     string // "pulled"
	subject string // what it works on
	left    string // what it means that imagectl is interrupted
	there   string // where what need not be moved is already; empty: "here"
}

// update is one reply of a job's stream. Every interface with jobs sends this shape beside its own results, so that
// one decoder does for all of them.
type update struct {
	Job      *string        `json:"job"`
	Progress *jobs.Progress `json:"progress"`
	Lines    []jobs.Line    `json:"lines"`
	// Reply is the reply itself.
	Reply varlink.Reply `json:"-"`
}

// follow calls a method that runs a job, shows what it does, and gives its last reply. A daemon that knows better what is
// going on tells it in lines; first, if it is not nil, gets the job's id and may end the watching by false.
func (a *app) follow(ctx context.Context, s *session, method string, in any, w work, first func(job string) bool) (varlink.Reply, error) {
	report, err := a.newReporter(w)
	if err != nil {
		return varlink.Reply{}, err
	}
	last, err := watch(s.client.Stream(ctx, method, in), report, first)
	if ended(ctx, err) {
		err = interrupted(w.left)
	}
	report.end(err)
	return last, err
}

// finish is follow for a method that ends with a result, which it decodes.
func (a *app) finish(ctx context.Context, s *session, method string, in, out any, w work) error {
	last, err := a.follow(ctx, s, method, in, w, nil)
	if err != nil {
		return err
	}
	if err := varlink.Unmarshal(last.Parameters, out); err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}

// detach calls a method whose job was told to go on alone, prints the job's id and leaves. That closes the connection.
func (a *app) detach(ctx context.Context, s *session, method string, in any, w work) error {
	if s.private != nil {
		return usagef("start imaged first, or leave --detach out", "--detach needs a daemon that outlives this command, and none is running")
	}
	id := ""
	_, err := watch(s.client.Stream(ctx, method, in), discard{}, func(job string) bool {
		id = job
		return false
	})
	switch {
	case ended(ctx, err):
		return interrupted(w.left)
	case err != nil:
		return err
	case a.json:
		return a.printJSON(map[string]string{"job": id})
	}
	return a.println(id)
}

func watch(replies func(func(varlink.Reply, error) bool), report reporter, first func(job string) bool) (varlink.Reply, error) {
	var last varlink.Reply
	for reply, err := range replies {
		if err != nil {
			return last, err
		}
		u := update{Reply: reply}
		if err := varlink.Unmarshal(reply.Parameters, &u); err != nil {
			return last, fmt.Errorf("reply: %w", err)
		}
		report.update(u)
		last = reply
		if u.Job != nil && first != nil && !first(*u.Job) {
			return last, nil
		}
	}
	return last, nil
}
