package varlink_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/varlinktest"
	upstream "github.com/varlink/go/varlink"
)

// upstreamTest serves two methods of the test interface with varlink/go alone.
type upstreamTest struct{}

func (upstreamTest) VarlinkGetName() string        { return testInterface }
func (upstreamTest) VarlinkGetDescription() string { return testDescription }

func (upstreamTest) VarlinkDispatch(ctx context.Context, c upstream.Call, method string) error {
	switch method {
	case "Empty":
		return c.Reply(ctx, &empty{})
	case "Count":
		var in countIn
		if err := c.GetParameters(&in); err != nil {
			return err
		}
		c.Continues = true
		for n := range in.UpTo {
			if err := c.Reply(ctx, &numberBody{n}); err != nil {
				return err
			}
		}
		c.Continues = false
		return c.Reply(ctx, &numberBody{in.UpTo})
	}
	return c.ReplyMethodNotFound(ctx, method)
}

// serveUpstream runs varlink/go's own server and returns its address.
func serveUpstream(t testing.TB, i interface {
	VarlinkDispatch(context.Context, upstream.Call, string) error
	VarlinkGetName() string
	VarlinkGetDescription() string
},
) string {
	t.Helper()
	service, err := upstream.NewService("", "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := service.RegisterInterface(i); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "varlink")
	if err != nil {
		t.Fatal(err)
	}
	address := "unix:" + filepath.Join(dir, "socket")
	if err := service.Bind(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	// Its Shutdown is a data race (fault 6), so its idle time ends it.
	go func() { done <- service.DoListen(ctx, 50*time.Millisecond) }()
	t.Cleanup(func() {
		<-done
		cancel()
		_ = os.RemoveAll(dir)
	})
	return address
}

func BenchmarkCall(b *testing.B) {
	address := varlinktest.Listen(b, newServer(b, nil))
	c, err := varlink.Dial(b.Context(), address)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Call(context.Background(), testInterface+".Empty", &empty{}, &empty{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCallUpstream(b *testing.B) {
	c, err := upstream.NewConnection(b.Context(), serveUpstream(b, upstreamTest{}))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Call(context.Background(), testInterface+".Empty", &empty{}, &empty{}); err != nil {
			b.Fatal(err)
		}
	}
}

const streamLength = 1000

func BenchmarkStream(b *testing.B) {
	c, err := varlink.Dial(b.Context(), varlinktest.Listen(b, newServer(b, nil)))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for r, err := range c.Stream(context.Background(), testInterface+".Count", &countIn{streamLength}) {
			var out numberBody
			if err == nil {
				err = varlink.Unmarshal(r.Parameters, &out)
			}
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != streamLength+1 {
			b.Fatalf("%d replies", n)
		}
	}
	b.ReportMetric(float64(b.N)*streamLength/b.Elapsed().Seconds(), "msg/s")
}

func BenchmarkStreamUpstream(b *testing.B) {
	c, err := upstream.NewConnection(b.Context(), serveUpstream(b, upstreamTest{}))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	b.ReportAllocs()
	for b.Loop() {
		receive, err := c.Send(context.Background(), testInterface+".Count", &countIn{streamLength}, upstream.More)
		if err != nil {
			b.Fatal(err)
		}
		for flags := uint64(upstream.Continues); flags&upstream.Continues != 0; {
			var out numberBody
			if flags, err = receive(context.Background(), &out); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*streamLength/b.Elapsed().Seconds(), "msg/s")
}
