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
