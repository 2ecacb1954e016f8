package registrytest

import (
	"context"
	"sync"
	"time"
)

// pacer spreads bytes over time. A nil pacer does not.
type pacer struct {
	rate int64 // bytes a second

	mu   sync.Mutex // guards next
	next time.Time  // when the bytes let through so far are paid for
}

// newPacer returns a pacer for so many bytes a second, nil for zero.
func newPacer(rate int64) *pacer {
	if rate <= 0 {
		return nil
	}
	return &pacer{rate: rate}
}

// portion is how many bytes are let through at once: a hundredth of a second's.
func (p *pacer) portion() int { return int(max(1, p.rate/100)) }

// wait takes n bytes' worth of time, which it shares with other callers.
func (p *pacer) wait(ctx context.Context, n int) error {
	p.mu.Lock()
	if now := time.Now(); p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(int64(n) * int64(time.Second) / p.rate))
	until := time.Until(p.next)
	p.mu.Unlock()

	timer := time.NewTimer(until)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writePaced writes p in portions, each after its time.
func writePaced(ctx context.Context, pace *pacer, p []byte, write func([]byte) (int, error)) (int, error) {
	if pace == nil {
		return write(p)
	}
	written := 0
	for written < len(p) {
		part := p[written:min(len(p), written+pace.portion())]
		if err := pace.wait(ctx, len(part)); err != nil {
			return written, err
		}
		n, err := write(part)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
