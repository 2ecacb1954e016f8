package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	upstream "github.com/varlink/go/varlink"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/systemdservice"
)

const (
	rpcRounds    = 7
	rpcTurn      = 300 * time.Millisecond
	streamLength = 5000
)

// benchCall calls a method without parameters or results over one connection: of the daemon itself with the generated
// client, and of servers that do nothing else.
func benchCall(t *testing.T) {
	d := startDaemon(t, newDirs(t))
	empty := &emptypb.Empty{}
	gc, tc, uc := dialGRPC(t), dialTTRPC(t), dialUpstream(t)
	client := systemdservice.NewClient(d.dial(t))
	ctx := context.Background()
	names := []string{"varlink/go", "ttrpc", "gRPC-go"}
	medians := alternate(t, rpcRounds, []contender{
		{"imaged", repeat(func() error { _, err := client.Ping(ctx, systemdservice.PingIn{}); return err })},
		{names[0], repeat(func() error { return uc.Call(ctx, testInterface+".Empty", &none{}, &none{}) })},
		{names[1], repeat(func() error { return tc.Call(ctx, testInterface, "Empty", empty, empty) })},
		{names[2], repeat(func() error { return gc.Invoke(ctx, "/"+testInterface+"/Empty", empty, empty) })},
	})
	for i, ratio := range []float64{2, 2.5, 5} {
		its := medians[i+1]
		row{"empty call, median", seconds, medians[0][0], names[i], its[0], goal{ratio: ratio}}.print()
		row{"empty calls on one connection", perSecond, medians[0][1], names[i], its[1], goal{ratio: ratio}}.print()
	}
}

// repeat makes calls for a turn, and measures the median of their times and how many fit into a second.
func repeat(call func() error) func(*testing.T) []float64 {
	return func(t *testing.T) []float64 {
		t.Helper()
		var took []float64
		start := time.Now()
		for last := start; last.Sub(start) < rpcTurn; {
			if err := call(); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			took = append(took, now.Sub(last).Seconds())
			last = now
		}
		rate := float64(len(took)) / time.Since(start).Seconds()
		return []float64{quantile(took, 0.5), rate}
	}
}

// benchStream receives replies that hold a number.
func benchStream(t *testing.T) {
	c, err := varlink.Dial(t.Context(), "unix:"+startServer(t, "imaged"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	gc, uc := dialGRPC(t), dialUpstream(t)
	medians := alternate(t, rpcRounds, []contender{
		{"imaged", received(func() (int, error) { return countOurs(c) })},
		{"gRPC-go", received(func() (int, error) { return countGRPCs(gc) })},
		{"varlink/go", received(func() (int, error) { return countUpstreams(uc) })},
	})
	row{"stream of small replies", perSecond, medians[0][0], "gRPC-go", medians[1][0], goal{ratio: 3}}.print()
	row{"stream of small replies", perSecond, medians[0][0], "varlink/go", medians[2][0], goal{}}.print()
}

// received makes streams for a turn, and measures how many replies come in a second.
func received(stream func() (int, error)) func(*testing.T) []float64 {
	return func(t *testing.T) []float64 {
		t.Helper()
		start, sum := time.Now(), 0
		for time.Since(start) < rpcTurn {
			n, err := stream()
			if err != nil || n != streamLength+1 {
				t.Fatalf("%d replies, %v", n, err)
			}
			sum += n
		}
		return []float64{float64(sum) / time.Since(start).Seconds()}
	}
}

// countOurs is what generated clients do with a stream.
func countOurs(c *varlink.Client) (n int, err error) {
	for reply, err := range c.Stream(context.Background(), testInterface+".Count", countIn{streamLength}) {
		var out countOut
		if err == nil {
			err = varlink.Unmarshal(reply.Parameters, &out)
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func countUpstreams(c *upstream.Connection) (n int, err error) {
	ctx := context.Background()
	receive, err := c.Send(ctx, testInterface+".Count", countIn{streamLength}, upstream.More)
	for flags := uint64(upstream.Continues); err == nil && flags&upstream.Continues != 0; n++ {
		var out countOut
		flags, err = receive(ctx, &out)
	}
	return n, err
}

func countGRPCs(c *grpc.ClientConn) (n int, err error) {
	desc := &grpc.StreamDesc{StreamName: "Count", ServerStreams: true}
	s, err := c.NewStream(context.Background(), desc, "/"+testInterface+"/Count")
	if err != nil {
		return 0, err
	}
	if err := errors.Join(s.SendMsg(wrapperspb.Int64(streamLength)), s.CloseSend()); err != nil {
		return 0, err
	}
	for {
		var out wrapperspb.Int64Value
		err := s.RecvMsg(&out)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n++
	}
}

func dialUpstream(t *testing.T) *upstream.Connection {
	t.Helper()
	c, err := upstream.NewConnection(t.Context(), "unix:"+startServer(t, "varlink/go"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func dialTTRPC(t *testing.T) *ttrpc.Client {
	t.Helper()
	conn, err := net.Dial("unix", startServer(t, "ttrpc"))
	if err != nil {
		t.Fatal(err)
	}
	c := ttrpc.NewClient(conn)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func dialGRPC(t *testing.T) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("unix:"+startServer(t, "gRPC-go"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
