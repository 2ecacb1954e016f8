package engine

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The library bounds what it reads of a manifest or a token, but reads an error's text to its end, into memory, however
// long a registry makes it. It has no hook for that; the kernel counts what a connection has received.

const (
	// maxAnswer is how much may come during a call that is not about a blob's content: several times what the library
	// reads of the longest answer, and what the kernel buffers of a blob that nobody reads yet.
	maxAnswer = 32 << 20
	// floodInterval is how often the kernel is asked.
	floodInterval = 20 * time.Millisecond
)

var errFlood = errors.New("it sends an answer without end")

// floodWatch ends an attempt whose registry sends answers without end.
type floodWatch struct {
	end func(error) // of the attempt

	mu    sync.Mutex          // guards what follows
	conns map[net.Conn]uint64 // and what each had received when the call got it
	timer *time.Timer         // nil before the first connection
	over  bool
}

// connected is called when a call of the library gets a connection.
func (w *floodWatch) connected(conn net.Conn) {
	before, ok := received(conn)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || !ok {
		return
	}
	if w.timer == nil {
		w.conns = map[net.Conn]uint64{}
		w.timer = time.AfterFunc(floodInterval, w.look)
	}
	w.conns[conn] = before
}

func (w *floodWatch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	var sum uint64
	for conn, before := range w.conns {
		if now, ok := received(conn); ok {
			sum += now - before
		}
	}
	if sum > maxAnswer {
		w.over = true
		w.end(&transferError{errFlood})
		return
	}
	w.timer.Reset(floodInterval)
}

func (w *floodWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// received is how many bytes have come over a connection, encrypted ones as they are.
func received(conn net.Conn) (uint64, bool) {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return 0, false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	var info *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO) }); e != nil || err != nil {
		return 0, false
	}
	return info.Bytes_received, true
}
