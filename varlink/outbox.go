package varlink

import "sync"

// outboxSize is how many bytes of replies may wait for those that are being written; then the handler waits, too.
const outboxSize = 64 << 10

// outbox writes the replies of a stream. The first one is written at once, in a goroutine; those that come in the meantime
// are written together after it. So a quick stream takes few system calls, and a slow one waits for nothing. The
// goroutine lives only while there is something to write.
type outbox struct {
	write func([]byte) error

	// mu guards what follows.
	mu             sync.Mutex
	changed        sync.Cond
	pending, spare []byte
	writing        bool
	err            error // of a write; then nothing is written any more
}

func newOutbox(write func([]byte) error) *outbox {
	o := &outbox{write: write}
	o.changed.L = &o.mu
	return o
}

// put takes a copy of a message to write. The error is one of an earlier message.
func (o *outbox) put(message []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil && len(o.pending) > outboxSize {
		o.changed.Wait()
	}
	if o.err != nil {
		return o.err
	}
	o.pending = append(o.pending, message...)
	if !o.writing {
		o.writing = true
		go o.flush()
	}
	return nil
}

// flush writes until nothing is left.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.pending) > 0 && o.err == nil {
		batch := o.pending
		o.pending = o.spare[:0]
		o.mu.Unlock()
		err := o.write(batch)
		o.mu.Lock()
		o.spare, o.err = batch, err
		o.changed.Broadcast()
	}
	o.writing = false
	o.changed.Broadcast()
}

// drain waits until everything is written, and the goroutine ends. A nil outbox is empty.
func (o *outbox) drain() error {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing {
		o.changed.Wait()
	}
	return o.err
}
