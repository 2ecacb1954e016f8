package main

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
)

var errTest = errors.New("the disk failed")

// readAll is a consumer that tells what it got.
func readAll(got *string) end {
	return func(_ context.Context, r *os.File) error {
		text, err := io.ReadAll(r)
		*got = string(text)
		return err
	}
}

func TestPipeCarriesAll(t *testing.T) {
	t.Parallel()
	var got string
	err := pipe(t.Context(), func(_ context.Context, w *os.File) error {
		_, err := w.WriteString("all of it")
		return err
	}, readAll(&got))
	if err != nil || got != "all of it" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestPipeTellsOfTheEndThatFailedFirst(t *testing.T) {
	t.Parallel()
	endless := func(_ context.Context, w *os.File) error {
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return err
			}
		}
	}
	for name, c := range map[string]struct{ produce, consume end }{
		"the producer": {
			func(context.Context, *os.File) error { return errTest },
			readAll(new(string)),
		},
		"the producer, in the middle": {
			func(_ context.Context, w *os.File) error {
				_, _ = w.WriteString("the begin") // its reader is there
				return errTest
			},
			func(ctx context.Context, _ *os.File) error {
				<-ctx.Done() // as a daemon that reads from a descriptor of its own
				return ctx.Err()
			},
		},
		"the consumer": {endless, func(context.Context, *os.File) error { return errTest }},
		"the consumer, while the producer waits": {
			func(ctx context.Context, _ *os.File) error {
				<-ctx.Done()
				return ctx.Err()
			},
			func(context.Context, *os.File) error { return errTest },
		},
	} {
		if err := pipe(t.Context(), c.produce, c.consume); !errors.Is(err, errTest) {
			t.Errorf("%s failed: got %v, want %v", name, err, errTest)
		}
	}
	// A consumer that has all it wants is no failure.
	if err := pipe(t.Context(), endless, func(context.Context, *os.File) error { return nil }); err != nil {
		t.Errorf("a satisfied consumer: %v", err)
	}
}
