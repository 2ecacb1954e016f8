package service

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/imaged-project/imaged/engine/jobs"
	"github.com/imaged-project/imaged/varlink"
)

// bulk is the way that an archive takes from or to a client, unless that is a path: a descriptor, or the connection.
type bulk struct {
	file   *os.File
	stream *stream
}

// takeBulk finds the way. That there is exactly one, counting paths, is for the engine to check.
func takeBulk(ctx context.Context, descriptor *int64) (b bulk, err error) {
	call := varlink.CallFrom(ctx)
	if descriptor != nil {
		if call.WantsUpgrade() {
			return b, &varlink.InvalidParameterError{Parameter: "fileDescriptor"}
		}
		b.file, err = call.TakeFile(*descriptor, "fileDescriptor")
		return b, err
	}
	if call.WantsUpgrade() {
		b.stream = &stream{ready: make(chan struct{})}
	}
	return b, nil
}

// input is what an upload is read from; nil if it is a path.
func (b bulk) input() io.ReadCloser {
	switch {
	case b.file != nil:
		return b.file
	case b.stream != nil:
		return b.stream
	}
	return nil
}

// output is what a download is written to; nil if it is a path.
func (b bulk) output() io.Writer {
	switch {
	case b.file != nil:
		return b.file
	case b.stream != nil:
		return b.stream
	}
	return nil
}

// follow is the function of that name for a job with bulk data. Over an upgraded connection the confirming reply carries
// the job's id, and nothing else is sent while the job runs.
func (b bulk) follow(ctx context.Context, w *jobs.Watch, confirm func(job *string) any, send func(news) error) (any, error) {
	if b.stream == nil {
		return follow(ctx, w, send)
	}
	if err := b.stream.open(ctx, confirm(new(w.Job()))); err != nil {
		w.Close()
		return nil, err
	}
	return follow(ctx, w, func(news) error { return nil })
}

// endDownload closes the writing side of a connection that carried a download: the client takes all bytes for its own, so
// there is no reply behind them.
func (b bulk) endDownload() error {
	if b.stream == nil || b.stream.conn == nil {
		return nil
	}
	return b.stream.conn.CloseWrite()
}

// stream is the upgraded connection of a call. A job gets it before the connection is upgraded, since the reply that
// confirms the upgrade names the job; reads and writes wait for that.
type stream struct {
	ready chan struct{}         // closed once conn is set or will not be
	conn  *varlink.UpgradedConn // nil if the upgrade failed
}

var errNotUpgraded = errors.New("the connection was not upgraded")

func (s *stream) open(ctx context.Context, confirmation any) error {
	defer close(s.ready)
	conn, err := varlink.CallFrom(ctx).Upgrade(confirmation)
	s.conn = conn
	return err
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if <-s.ready; s.conn == nil {
		return 0, errNotUpgraded
	}
	return s.conn.Read(p)
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) {
	if <-s.ready; s.conn == nil {
		return 0, errNotUpgraded
	}
	return s.conn.Write(p)
}

// SetWriteDeadline makes a Write return.
func (s *stream) SetWriteDeadline(t time.Time) error {
	if <-s.ready; s.conn == nil {
		return errNotUpgraded
	}
	return s.conn.SetDeadline(t)
}

// Close makes a Read return. The connection stays: the server ends it after the last reply.
func (s *stream) Close() error {
	select {
	case <-s.ready:
	default:
		return nil
	}
	if s.conn == nil {
		return nil
	}
	return s.conn.SetDeadline(time.Unix(1, 0))
}
