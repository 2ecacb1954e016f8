package progress

import "time"

const (
	bucketLength = 100 * time.Millisecond
	buckets      = 30 // three seconds
)

// meter measures a rate over the last buckets*bucketLength. The zero value is ready for use.
type meter struct {
	started time.Time
	last    int64 // number of the newest bucket, counted from started
	counts  [buckets]int64
}

func (m *meter) add(now time.Time, n int64) {
	if m.started.IsZero() {
		m.started = now
	}
	m.advance(now)
	m.counts[m.last%buckets] += n
}

// rate returns bytes a second. A meter younger than the window is measured over its age, but not less than one
// bucket, so that a first packet does not look like a flood.
func (m *meter) rate(now time.Time) int64 {
	if m.started.IsZero() {
		return 0
	}
	m.advance(now)
	var sum int64
	for _, n := range m.counts {
		sum += n
	}
	span := min(max(now.Sub(m.started), bucketLength), buckets*bucketLength)
	return int64(float64(sum) / span.Seconds())
}

// advance empties the buckets that time has passed over.
func (m *meter) advance(now time.Time) {
	bucket := max(int64(now.Sub(m.started)/bucketLength), m.last)
	for i := max(m.last+1, bucket-buckets+1); i <= bucket; i++ {
		m.counts[i%buckets] = 0
	}
	m.last = bucket
}
