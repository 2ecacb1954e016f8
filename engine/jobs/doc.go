// Package jobs runs long operations that several callers may watch.
//
// A job has an owner, watchers, progress, lines of text and, in the end, a result. Whoever starts or attaches gets a
// Watch; when the last watch of a job is closed, the job is cancelled, unless it is detached. Two callers of the same
// user who start equal work, as their Key says, share one job.
//
// A cancelled job has its result at once: every watcher gets errdefs.Cancelled without waiting for the work to
// notice. The work itself may need a while to stop; until it has, it counts as running, Busy says so, Shutdown waits
// for it, and an equal job that is started meanwhile begins only after it.
//
// Progress is conflated: a watcher gets the newest state, at most ten times a second. Lines are batched, but never
// lost and never reordered; a watcher that falls too far behind is told so and gets no more, and the job goes on.
//
// Package jobs imports engine/errdefs, engine/progress and the standard library. The engine and package service may
// import it.
package jobs
