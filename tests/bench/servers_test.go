package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/containerd/ttrpc"
	upstream "github.com/varlink/go/varlink"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/imaged-project/imaged/varlink"
)

// childVariable names the server that this program is to be, on the socket that is its descriptor 3.
const childVariable = "IMAGED_BENCH_SERVER"

// servers are those to compare with, each in a process of its own, as imaged is.
var servers = map[string]func(socket *os.File) error{
	"imaged":     onListener(serveRuntime),
	"varlink/go": serveUpstream,
	"ttrpc":      onListener(serveTTRPC),
	"gRPC-go":    onListener(serveGRPC),
}

func onListener(serve func(*net.UnixListener) error) func(*os.File) error {
	return func(socket *os.File) error {
		l, err := net.FileListener(socket)
		if err != nil {
			return err
		}
		return serve(l.(*net.UnixListener))
	}
}

// serveAsChild serves until it is killed, if this process is a server.
func serveAsChild() bool {
	name := os.Getenv(childVariable)
	if name == "" {
		return false
	}
	socket := os.NewFile(3, "socket")
	err := servers[name](socket)
	runtime.KeepAlive(socket)
	fmt.Fprintln(os.Stderr, "bench:", name, "ended:", err)
	os.Exit(1)
	return true
}

// startServer runs one of the servers until the test ends, and returns the path of its socket.
func startServer(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	socket := listen(t, path)
	defer func() { _ = socket.Close() }()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
	})
	return path
}

// listen makes a listening socket for another process.
func listen(t *testing.T, path string) *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	defer func() { _ = l.Close() }()
	socket, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

// The interface that everybody serves: a call without content, and a stream of numbers.
const (
	testInterface   = "io.imaged.bench"
	testDescription = "interface io.imaged.bench\nmethod Empty() -> ()\nmethod Count(upTo: int) -> (number: int)\n"
)

type (
	countIn struct {
		UpTo int64 `json:"upTo"`
	}
	countOut struct {
		Number int64 `json:"number"`
	}
	none struct{}
)

func serveRuntime(l *net.UnixListener) error {
	count := func(_ context.Context, in countIn, send func(countOut) error) (countOut, error) {
		for n := range in.UpTo {
			if err := send(countOut{n}); err != nil {
				return countOut{}, err
			}
		}
		return countOut{in.UpTo}, nil
	}
	var s varlink.Server
	if err := s.Register(varlink.Interface{Name: testInterface, Description: testDescription, Methods: map[string]varlink.Method{
		"Empty": {Handle: varlink.Handle(func(context.Context, none) (none, error) { return none{}, nil })},
		"Count": {Handle: varlink.HandleStream(count), More: varlink.MoreSupported},
	}}); err != nil {
		return err
	}
	return s.Serve(l)
}

// upstreamService is the interface for varlink/go.
type upstreamService struct{}

func (upstreamService) VarlinkGetName() string        { return testInterface }
func (upstreamService) VarlinkGetDescription() string { return testDescription }

func (upstreamService) VarlinkDispatch(ctx context.Context, c upstream.Call, method string) error {
	if method == "Empty" {
		return c.Reply(ctx, &none{})
	}
	var in countIn
	if err := c.GetParameters(&in); err != nil {
		return err
	}
	c.Continues = true
	for n := range in.UpTo {
		if err := c.Reply(ctx, &countOut{n}); err != nil {
			return err
		}
	}
	c.Continues = false
	return c.Reply(ctx, &countOut{in.UpTo})
}

// serveUpstream lets varlink/go find the socket by itself, as systemd would give it: it takes none from its caller.
func serveUpstream(*os.File) error {
	if err := errors.Join(os.Setenv("LISTEN_FDS", "1"), os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))); err != nil {
		return err
	}
	s, err := upstream.NewService("", "", "", "")
	if err != nil {
		return err
	}
	if err := s.RegisterInterface(upstreamService{}); err != nil {
		return err
	}
	return s.Listen(context.Background(), "unix:@unused", 0)
}

func serveTTRPC(l *net.UnixListener) error {
	s, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	s.RegisterService(testInterface, &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"Empty": func(_ context.Context, decode func(any) error) (any, error) {
			return &emptypb.Empty{}, decode(&emptypb.Empty{})
		},
	}})
	return s.Serve(context.Background(), l)
}

func serveGRPC(l *net.UnixListener) error {
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: testInterface,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Empty",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				return &emptypb.Empty{}, decode(&emptypb.Empty{})
			},
		}},
		Streams: []grpc.StreamDesc{{StreamName: "Count", ServerStreams: true, Handler: countGRPC}},
	}, struct{}{})
	return s.Serve(l)
}

func countGRPC(_ any, stream grpc.ServerStream) error {
	var upTo wrapperspb.Int64Value
	if err := stream.RecvMsg(&upTo); err != nil {
		return err
	}
	for n := range upTo.Value + 1 {
		if err := stream.SendMsg(wrapperspb.Int64(n)); err != nil {
			return err
		}
	}
	return nil
}
