package varlink_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/varlinktest"
)

const uploadInterface = `# Takes uploads.
interface test.upload

# Counts the bytes that come after the upgrade.
method Count(
  # The most that may come.
  most: int
) -> (
  # How many came.
  size: ?int
)

# Too many came.
error TooLong(
  # How many.
  size: int
)
`

type uploadIn struct {
	Most int64 `json:"most"`
}

type uploadOut struct {
	Size *int64 `json:"size,omitzero"`
}

type tooLong struct {
	Size int64 `json:"size"`
}

func (*tooLong) Error() string        { return "too long" }
func (*tooLong) VarlinkError() string { return "test.upload.TooLong" }

// An upload ends with one more reply, or an error, behind the raw bytes.
func TestUploadEndsWithAReply(t *testing.T) {
	t.Parallel()
	s := new(varlink.Server)
	count := func(ctx context.Context, in uploadIn) (uploadOut, error) {
		conn, err := varlink.CallFrom(ctx).Upgrade(uploadOut{})
		if err != nil {
			return uploadOut{}, err
		}
		size, err := io.Copy(io.Discard, conn)
		if err == nil && size > in.Most {
			err = &tooLong{size}
		}
		return uploadOut{&size}, err
	}
	err := s.Register(varlink.Interface{
		Name: "test.upload", Description: uploadInterface, Methods: map[string]varlink.Method{"Count": {Handle: varlink.Handle(count)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	upload := func(most int64) (uploadOut, error) {
		conn, err := varlinktest.NewClient(t, s).Upgrade(t.Context(), "test.upload.Count", uploadIn{most}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(conn, strings.NewReader(strings.Repeat("\x00x", 50_000))); err != nil {
			t.Fatal(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		var out uploadOut
		err = conn.Receive(&out)
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("after the reply: %d bytes, %v", n, err)
		}
		return out, err
	}
	if out, err := upload(100_000); err != nil || out.Size == nil || *out.Size != 100_000 {
		t.Errorf("got %v, %v", out.Size, err)
	}
	if _, err := upload(10); err == nil || !strings.Contains(err.Error(), "test.upload.TooLong") {
		t.Errorf("got %v", err)
	}
}
