package registrytest

import (
	"bytes"
	"context"
	"net/http"
)

// spoiler is a response whose body a [Fault] spoils on its way.
type spoiler struct {
	http.ResponseWriter
	ctx     context.Context // the request's; a response lives no longer
	fault   *Fault
	pace    *pacer
	closing <-chan struct{}

	offset int64 // body bytes that went out
	began  bool  // the header went out
	struck bool  // the place of the fault was reached
}

// Unwrap lets [http.ResponseController] reach the connection.
func (s *spoiler) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (s *spoiler) WriteHeader(status int) {
	s.began = true
	header := s.Header()
	for name, value := range s.fault.Header {
		header.Set(name, value)
	}
	if s.fault.Body != nil {
		header.Set("Content-Length", contentLength(int64(len(s.fault.Body))))
	}
	if s.fault.ContentLength != 0 {
		header.Set("Content-Length", contentLength(s.fault.ContentLength))
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter]. It claims to have written all, so
// that the registry above goes on as if nothing happened.
func (s *spoiler) Write(p []byte) (int, error) {
	if !s.began {
		s.WriteHeader(http.StatusOK)
	}
	if s.fault.Body != nil {
		return len(p), nil
	}
	return len(p), s.send(p)
}

// send passes a part of the body on, with what the fault does to it.
func (s *spoiler) send(p []byte) error {
	for len(p) > 0 {
		part, atFault := s.split(p)
		if err := s.pass(part); err != nil {
			return err
		}
		p = p[len(part):]
		if !atFault {
			continue
		}
		s.strike()
		if s.fault.Corrupt {
			if err := s.pass([]byte{^p[0]}); err != nil {
				return err
			}
			p = p[1:]
		}
	}
	return nil
}

// split returns what of p lies before the place of the fault, and whether the
// fault comes right after it.
func (s *spoiler) split(p []byte) ([]byte, bool) {
	left := s.fault.After - s.offset
	if s.struck || left >= int64(len(p)) {
		return p, false
	}
	return p[:left], true
}

// strike is the moment when the body reached the place of the fault.
func (s *spoiler) strike() {
	s.struck = true
	if s.fault.Stall == nil && !s.fault.Reset && !s.fault.Truncate {
		return
	}
	// What went before the fault must reach the client.
	_ = http.NewResponseController(s.ResponseWriter).Flush()
	if s.fault.Stall != nil {
		s.stall()
	}
	if s.fault.Reset {
		reset(s.ResponseWriter)
	}
	if s.fault.Truncate {
		panic(http.ErrAbortHandler)
	}
}

// stall waits until the stall is over. If the client is gone or the registry
// closed before that, the connection ends there.
func (s *spoiler) stall() {
	select {
	case <-s.fault.Stall:
	case <-s.ctx.Done():
		panic(http.ErrAbortHandler)
	case <-s.closing:
		panic(http.ErrAbortHandler)
	}
}

// pass sends bytes at the fault's rate, no more than the answer claims to have.
func (s *spoiler) pass(p []byte) error {
	if claimed := s.fault.ContentLength; claimed != 0 {
		p = p[:min(int64(len(p)), max(0, claimed-s.offset))]
	}
	n, err := writePaced(s.ctx, s.pace, p, func(part []byte) (int, error) {
		n, err := s.ResponseWriter.Write(part)
		if s.pace != nil {
			// A slow answer must be seen to be slow.
			_ = http.NewResponseController(s.ResponseWriter).Flush()
		}
		return n, err
	})
	s.offset += int64(n)
	return err
}

// finish sends the body that replaces the true one.
func (s *spoiler) finish() {
	if s.fault.Body == nil {
		return
	}
	if !s.began {
		s.WriteHeader(http.StatusOK)
	}
	body := bytes.Clone(s.fault.Body)
	// A client that is gone does not want the body.
	_ = s.send(body)
}
