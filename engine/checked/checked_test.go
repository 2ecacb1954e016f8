package checked_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/imaged-project/imaged/engine/checked"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// count is a check that fails after so many bytes.
func count(most int64) func(context.Context, io.Reader) error {
	return func(_ context.Context, r io.Reader) error {
		if n, err := io.Copy(io.Discard, io.LimitReader(r, most+1)); err != nil || n > most {
			return errors.Join(err, errTooLong)
		}
		return nil
	}
}

var errTooLong = errors.New("too long")

func TestReaderGetsAllOrTheCheckError(t *testing.T) {
	t.Parallel()
	for most, want := range map[int64]error{5: nil, 4: errTooLong, 0: errTooLong} {
		r := checked.New(t.Context(), io.NopCloser(strings.NewReader("layer")), count(most))
		got, err := io.ReadAll(r)
		if !errors.Is(err, want) || err == nil && string(got) != "layer" {
			t.Errorf("at most %d: %q, %v", most, got, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A check that works without reading learns that nobody waits for it.
func TestCloseEndsABusyCheck(t *testing.T) {
	t.Parallel()
	busy := func(ctx context.Context, _ io.Reader) error {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := checked.New(t.Context(), io.NopCloser(strings.NewReader("layer")), busy).Close(); err != nil {
		t.Error(err)
	}
}

// Ahead gives no byte on that its check would refuse.
func TestAheadKeepsBytesBack(t *testing.T) {
	t.Parallel()
	first := func(_ context.Context, r io.Reader) error {
		if _, err := r.Read(make([]byte, 64)); err != nil {
			return err
		}
		return errTooLong // some time after it has them
	}
	for range 100 {
		r := checked.Ahead(t.Context(), io.NopCloser(strings.NewReader("layer")), first)
		if got, err := io.ReadAll(r); !errors.Is(err, errTooLong) || len(got) > 0 {
			t.Fatalf("%q, %v", got, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	r := checked.Ahead(t.Context(), io.NopCloser(strings.NewReader("layer")), count(5))
	if got, err := io.ReadAll(r); err != nil || string(got) != "layer" {
		t.Errorf("%q, %v", got, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
