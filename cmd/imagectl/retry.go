package main

import (
	"time"

	"github.com/spf13/pflag"
)

// retryFlags are the flags of commands that try again when a registry fails.
type retryFlags struct {
	retries                  int64
	retryDelay, stallTimeout time.Duration
	changed                  func(flag string) bool
}

func (r *retryFlags) add(flags *pflag.FlagSet) {
	flags.Int64Var(&r.retries, "retry", 3, "how often to try again after a failure that may pass")
	flags.DurationVar(&r.retryDelay, "retry-delay", time.Second, "time before the first retry; doubled each time")
	flags.DurationVar(&r.stallTimeout, "stall-timeout", time.Minute, "time without a single byte that ends an attempt")
	r.changed = flags.Changed
}

// parameters gives what the flags say; nil for those that were not given, which are left to the daemon.
func (r *retryFlags) parameters() (retries *int64, delay, stall *float64) {
	if r.changed("retry") {
		retries = &r.retries
	}
	if r.changed("retry-delay") {
		delay = new(r.retryDelay.Seconds())
	}
	if r.changed("stall-timeout") {
		stall = new(r.stallTimeout.Seconds())
	}
	return retries, delay, stall
}
