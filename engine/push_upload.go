package engine

import (
	"context"
	"net/http/httptrace"
	"sync"
	"time"
)

// upload watches an attempt to push: every byte that is read from the store, and every answer, is a sign of life.
type upload struct {
	ctx     context.Context // for the library; ends with the attempt
	attempt *attempt
	helpers sync.WaitGroup
	end     context.CancelFunc

	mu      sync.Mutex // guards what follows
	over    bool
	asked   bool // the registry was asked whether it limits us
	stall   *time.Timer
	silence *time.Timer
}

// startUpload begins to watch. The caller stops it.
func (a *attempt) startUpload() *upload {
	u := &upload{attempt: a}
	ctx, end := context.WithCancel(confineUploads(a))
	u.end = end
	u.stall = a.guard.timer()
	u.silence = time.AfterFunc(maxDuration, u.suspect)
	u.silence.Stop()
	u.ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { u.sign(false) }, GotFirstResponseByte: func() { u.sign(true) },
	})
	return u
}

// sign is called at every sign of life. After an answer the library may sleep because it was 429, and tells nobody.
func (u *upload) sign(answer bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return
	}
	if u.attempt.guard.timeout > 0 {
		u.stall.Reset(u.attempt.guard.timeout)
	}
	u.silence.Stop()
	if answer && !u.asked {
		u.silence.Reset(quietAfterAnswer)
	}
}

// pause says that something goes on here that is no sign of life for long, such as the reading of a layer.
func (u *upload) pause() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.over {
		u.stall.Stop()
		u.silence.Stop()
	}
}

// suspect asks the registry once whether it limits us.
func (u *upload) suspect() {
	u.mu.Lock()
	if u.over || u.asked {
		u.mu.Unlock()
		return
	}
	u.asked = true
	u.helpers.Add(1)
	u.mu.Unlock()
	defer u.helpers.Done()
	u.attempt.suspect(u.ctx, "")
}

// stop ends the watching, and waits for what it began.
func (u *upload) stop() {
	u.mu.Lock()
	u.over = true
	u.stall.Stop()
	u.silence.Stop()
	u.mu.Unlock()
	u.end()
	u.helpers.Wait()
}
