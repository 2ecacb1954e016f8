package main

import (
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// Streams is all that a run of imagectl sees of the world it was started in, apart from files and sockets.
type Streams struct {
	// In is where passwords, answers, the parameters of call and archives come from when they are asked for there.
	// Archives can come only from an *os.File, whose descriptor the daemon gets.
	In io.Reader
	// Out takes the result and nothing else. Archives can go only to an *os.File.
	Out io.Writer
	// Err takes talk, progress and errors.
	Err io.Writer
	// InTerminal is In if that is a terminal, nil otherwise.
	InTerminal *os.File
	// OutTerminal is Out if that is a terminal, nil otherwise.
	OutTerminal *os.File
	// ErrTerminal is Err if that is a terminal that can move its cursor, nil otherwise.
	ErrTerminal *os.File
	// Getenv looks a variable of the environment up; it gives "" for one that is not set.
	Getenv func(string) string
	// Now tells the time.
	Now func() time.Time
}

// SystemStreams gives the streams of this process.
func SystemStreams() Streams {
	s := Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTerminal: terminal(os.Stdin), OutTerminal: terminal(os.Stdout),
		Getenv: os.Getenv, Now: time.Now,
	}
	if os.Getenv("TERM") != "dumb" {
		s.ErrTerminal = terminal(os.Stderr)
	}
	return s
}

func terminal(f *os.File) *os.File {
	if term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
