package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
)

const (
	coldRounds   = 7
	hangupRounds = 3
	idle         = 1000 // connections
)

// benchCold activates the programs and makes the smallest call, whose reply needs the store to be open.
func benchCold(t *testing.T) {
	d := newDirs(t)
	contenders := []contender{{"imaged", func(t *testing.T) []float64 {
		p := prepareDaemon(t, d)
		defer p.stop(t)
		return []float64{timed(func() { p.begin(); p.ping(t) })}
	}}}
	if root := debian(t, d); root != nil {
		contenders = append(contenders, contender{"podman", func(t *testing.T) []float64 {
			p := preparePodman(t, d, root)
			defer p.stop(t)
			client := p.rest(t)
			return []float64{timed(func() { p.begin(); request(t, client, http.MethodGet, "_ping") })}
		}})
	}
	for _, c := range contenders {
		c.run(t) // makes the store, and the files are in memory
	}
	medians := append(alternate(t, coldRounds, contenders), []float64{0})
	row{"first reply after activation", seconds, medians[0][0], "podman service", medians[1][0], goal{ratio: 2}}.print()
}

// memory is what a service uses; own leaves out pages of files.
type memory struct{ idle, own, pulling, connection float64 }

// benchMemory looks at the resident memory of the programs and of what they start.
func benchMemory(t *testing.T) {
	d := newDirs(t)
	daemon := startDaemon(t, d)
	daemon.ping(t)
	ours := measureMemory(t, daemon, func() { daemon.ping(t) },
		func() error { return pullStream(t.Context(), daemon.dial(t), bigImage(t).name) })
	remove(t, daemon.dial(t), bigImage(t).name)
	var its memory
	if root := debian(t, d); root != nil {
		podman := startPodman(t, d, root)
		client := podman.rest(t)
		request(t, client, http.MethodGet, "_ping")
		its = measureMemory(t, podman, func() { request(t, podman.rest(t), http.MethodGet, "_ping") },
			func() error { return pullREST(t.Context(), client, bigImage(t).name) })
	}
	row{"memory at rest", bytesUsed, ours.idle, "podman service", its.idle, goal{ratio: 2}}.print()
	row{"- without pages of files, as the program's", bytesUsed, ours.own, "podman service", its.own, goal{ratio: 2}}.print()
	row{"memory for an idle connection", bytesUsed, ours.connection, "podman service", its.connection, goal{most: 20e3}}.print()
	row{"memory while it pulls", bytesUsed, ours.pulling, "podman service", its.pulling, goal{most: 120e6}}.print()
}

// measureMemory measures a program that has replied once; connect makes a connection and a call.
func measureMemory(t *testing.T, p *process, connect func(), pull func() error) (m memory) {
	t.Helper()
	p.settle(t)
	used := p.usage(t)
	m.idle, m.own = used.resident, used.own
	for range idle {
		connect()
	}
	p.settle(t)
	m.connection = (p.usage(t).resident - m.idle) / idle
	m.pulling = p.peak(t, pull)
	return m
}

// benchHangup leaves pulls when half of the image has been sent, and measures until the program is at rest. podman has a new
// store every time: it keeps the layers it had, or the whole image, and there would be less to pull for the next one.
func benchHangup(t *testing.T) {
	d := newDirs(t)
	daemon := startDaemon(t, d)
	contenders := []contender{{"imaged", func(t *testing.T) []float64 {
		return []float64{leave(t, daemon, func(ctx context.Context) error { return pullStream(ctx, daemon.dial(t), bigImage(t).name) })}
	}}}
	if debian(t, d) != nil {
		contenders = append(contenders, contender{"podman", func(t *testing.T) []float64 {
			d := newDirs(t)
			podman := startPodman(t, d, debian(t, d))
			defer podman.stop(t)
			client := podman.rest(t)
			request(t, client, http.MethodGet, "_ping")
			return []float64{leave(t, podman, func(ctx context.Context) error { return pullREST(ctx, client, bigImage(t).name) })}
		}})
	}
	medians := append(alternate(t, hangupRounds, contenders), []float64{0})
	row{"hang-up to operation stopped", seconds, medians[0][0], "podman service", medians[1][0], goal{most: 0.1}}.print()
}

// leave begins a pull, hangs up in its middle and returns for how many seconds the program was busy after that.
func leave(t *testing.T, p *process, pull func(context.Context) error) float64 {
	t.Helper()
	big := bigImage(t)
	big.registry.ForgetRequests()
	p.settle(t)
	ctx, hangUp := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- pull(ctx) }()
	eventually(t, func() error {
		select {
		case err := <-done:
			t.Fatalf("the pull ended before it was left: %v", err)
		default:
		}
		if sent := big.registry.BytesSent(); sent < big.bytes/2 {
			return fmt.Errorf("only %d bytes were sent", sent)
		}
		return nil
	})
	hangUp()
	took := p.settle(t).Seconds()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("a pull that was left: %v", err)
	}
	return took
}
