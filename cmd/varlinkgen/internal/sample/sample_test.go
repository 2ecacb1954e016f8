package sample_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/imaged-project/imaged/cmd/varlinkgen/internal/sample"
	"github.com/imaged-project/imaged/varlink"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// shop is a handler without Watch.
type shop struct{ sample.Unimplemented }

func (shop) Ping(context.Context, sample.PingIn) (sample.PingOut, error) {
	return sample.PingOut{}, nil
}

// Echo fails in two ways for two ids.
func (shop) Echo(_ context.Context, in sample.EchoIn) (sample.EchoOut, error) {
	switch in.Thing.ID {
	case "broken":
		return sample.EchoOut{}, errors.New("it broke")
	case "unpainted":
		return sample.EchoOut{}, &sample.OutOfPaintError{}
	default:
		return sample.EchoOut(in), nil
	}
}

func (shop) Count(_ context.Context, in sample.CountIn, send func(sample.CountOut) error) (sample.CountOut, error) {
	for n := int64(1); n < in.To; n++ {
		if n > 100 {
			return sample.CountOut{}, &sample.TooBigError{Value: in.To, Limit: new(int64(100)), Message: "too big"}
		}
		if err := send(sample.CountOut{Reached: n}); err != nil {
			return sample.CountOut{}, err
		}
	}
	return sample.CountOut{Reached: in.To}, nil
}

// watcher is a handler with Watch.
type watcher struct{ shop }

func (watcher) Watch(_ context.Context, in sample.WatchIn, send func(sample.WatchOut) error) (sample.WatchOut, error) {
	for range *in.Looks {
		if err := send(sample.WatchOut{Paint: sample.PaintSingleCoat}); err != nil {
			return sample.WatchOut{}, err
		}
	}
	return sample.WatchOut{}, nil
}

// dial serves a handler on one end of a socket pair and returns a connection on the other.
func dial(t *testing.T, h sample.Handler) *varlink.Client {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	server := &varlink.Server{InternalError: func(_ *varlink.Call, err error) error { return &sample.TooBigError{Message: err.Error()} }}
	if err := server.Register(sample.New(h)); err != nil {
		t.Fatal(err)
	}
	ours, client := conn(t, fds[0]), varlink.NewClient(conn(t, fds[1]))
	done := make(chan error, 1)
	go func() { done <- server.ServeConn(ours) }()
	t.Cleanup(func() {
		client.Close()
		if err := <-done; err != nil {
			t.Errorf("ServeConn: %v", err)
		}
	})
	return client
}

func conn(t *testing.T, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket pair")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

// bareThing has every nullable field null, and nil for every slice and map.
func bareThing(id string) sample.Thing {
	return sample.Thing{ID: id, Paint: sample.PaintBare, Extra: jsontext.Value("{}")}
}

func TestRoundTripOfEveryField(t *testing.T) {
	t.Parallel()
	inner := bareThing("inner")
	inner.Tags, inner.Labels, inner.Measures = []string{}, map[string]string{}, []float64{}
	thing := sample.Thing{
		ID:       "outer <&>",
		Paint:    sample.PaintDoubleCoat,
		At:       sample.Point{X: -1 << 63, Y: new(0.5)},
		Tags:     []string{"a", ""},
		Labels:   map[string]string{"k": "v"},
		Extra:    jsontext.Value(`{"any":[1,null]}`),
		ForSale:  true,
		Inner:    &inner,
		URLs:     []string{},
		Corners:  map[string]sample.Point{"north": {X: 1}, "south": {}},
		OldPaint: sample.PaintSingleCoat,
		Price:    new(int64(0)),
		Measures: []float64{-0.25, 1e300},
		Note:     jsontext.Value(`{}`),
	}
	out, err := sample.NewClient(dial(t, shop{})).Echo(t.Context(), sample.EchoIn{Thing: thing})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(thing, out.Thing); diff != "" {
		t.Errorf("thing changed on its way (-want +got):\n%s", diff)
	}
}

// TestWireForm shows what goes over the wire for nil and null.
func TestWireForm(t *testing.T) {
	t.Parallel()
	var raw jsontext.Value
	err := dial(t, shop{}).Call(t.Context(), sample.Interface+".Echo", sample.EchoIn{Thing: bareThing("x")}, &raw)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"thing":{"id":"x","paint":"bare","at":{"x":0},"tags":[],"labels":{},"extra":{},"forSale":false,"measures":[]}}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("reply (-want +got):\n%s", diff)
	}
}

func TestEnumWithDash(t *testing.T) {
	t.Parallel()
	thing := bareThing("x")
	thing.Paint = "double-coat"
	out, err := sample.NewClient(dial(t, shop{})).Echo(t.Context(), sample.EchoIn{Thing: thing})
	if err != nil {
		t.Fatal(err)
	}
	if out.Thing.Paint != sample.PaintDoubleCoat {
		t.Errorf("paint is %q, want %q", out.Thing.Paint, sample.PaintDoubleCoat)
	}
}

func TestInvalidParametersAreNamed(t *testing.T) {
	t.Parallel()
	const rest = `"at":{"x":0},"tags":[],"labels":{},"extra":{},"forSale":false,"measures":[]`
	client := dial(t, shop{})
	for in, want := range map[string]string{
		`{}`:                       "thing",
		`{"thing":{},"other":1}`:   "thing.id",
		`{"other":1,"thing":null}`: "other",
		`{"thing":{"id":"a","paint":"blue",` + rest + `}}`:                          "thing.paint",
		`{"thing":{"id":"a","paint":"bare","price":"1",` + rest + `}}`:              "thing.price",
		`{"thing":{"id":"a","paint":"bare","inner":{"paint":"bare"},` + rest + `}}`: "thing.inner.id",
	} {
		err := client.Call(t.Context(), sample.Interface+".Echo", jsontext.Value(in), nil)
		invalid, ok := errors.AsType[*varlink.InvalidParameterError](err)
		if !ok || invalid.Parameter != want {
			t.Errorf("%s: error %v, want InvalidParameter of %s", in, err, want)
		}
	}
}

func TestTypedErrors(t *testing.T) {
	t.Parallel()
	client := sample.NewClient(dial(t, shop{}))
	_, err := client.Echo(t.Context(), sample.EchoIn{Thing: bareThing("unpainted")})
	if _, ok := errors.AsType[*sample.OutOfPaintError](err); !ok || err.Error() != "com.example.sample.OutOfPaint" {
		t.Errorf("error is %#v, want OutOfPaint", err)
	}
	_, err = client.Count(t.Context(), sample.CountIn{To: 1000})
	want := &sample.TooBigError{Value: 1000, Limit: new(int64(100)), Message: "too big"}
	tooBig, ok := errors.AsType[*sample.TooBigError](err)
	if diff := cmp.Diff(want, tooBig); !ok || diff != "" || err.Error() != "too big" {
		t.Errorf("error is %v; its fields (-want +got):\n%s", err, diff)
	}
	_, err = client.Echo(t.Context(), sample.EchoIn{Thing: bareThing("broken")})
	if err == nil || err.Error() != "it broke" {
		t.Errorf("error is %v, want what InternalError made", err)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	client := sample.NewClient(dial(t, shop{}))
	var got []int64
	for out, err := range client.CountStream(t.Context(), sample.CountIn{To: 4}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, out.Reached)
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 4}, got); diff != "" {
		t.Errorf("with more (-want +got):\n%s", diff)
	}
	out, err := client.Count(t.Context(), sample.CountIn{To: 4})
	if err != nil || out.Reached != 4 {
		t.Errorf("without more: %v, %v; want 4", out, err)
	}
}

func TestErrorEndsStream(t *testing.T) {
	t.Parallel()
	client := sample.NewClient(dial(t, shop{}))
	replies, last := 0, error(nil)
	for _, err := range client.CountStream(t.Context(), sample.CountIn{To: 1000}) {
		if last != nil {
			t.Fatalf("a reply after the error %v", last)
		}
		last = err
		replies++
	}
	if _, ok := errors.AsType[*sample.TooBigError](last); !ok || replies != 101 {
		t.Errorf("%d replies, the last with error %v; want 100 and TooBig", replies, last)
	}
	if _, err := client.Ping(t.Context(), sample.PingIn{}); err != nil {
		t.Errorf("a call after the failed stream: %v", err)
	}
}

func TestMoreRequired(t *testing.T) {
	t.Parallel()
	conn := dial(t, watcher{})
	var got []sample.Paint
	for out, err := range sample.NewClient(conn).WatchStream(t.Context(), sample.WatchIn{Looks: new(int64(2))}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, out.Paint)
	}
	if diff := cmp.Diff([]sample.Paint{sample.PaintSingleCoat, sample.PaintSingleCoat, ""}, got); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
	err := conn.Call(t.Context(), sample.Interface+".Watch", nil, nil)
	if _, ok := errors.AsType[*varlink.ExpectedMoreError](err); !ok {
		t.Errorf("without more: %v, want ExpectedMore", err)
	}
}

func TestUnimplemented(t *testing.T) {
	t.Parallel()
	client := sample.NewClient(dial(t, sample.Unimplemented{}))
	check := func(method string, err error) {
		t.Helper()
		missing, ok := errors.AsType[*varlink.MethodNotImplementedError](err)
		if !ok || missing.Method != sample.Interface+"."+method {
			t.Errorf("%s: %v, want MethodNotImplemented", method, err)
		}
	}
	_, err := client.Ping(t.Context(), sample.PingIn{})
	check("Ping", err)
	_, err = client.Echo(t.Context(), sample.EchoIn{Thing: bareThing("x")})
	check("Echo", err)
	for _, err := range client.CountStream(t.Context(), sample.CountIn{}) {
		check("Count", err)
	}
	for _, err := range client.WatchStream(t.Context(), sample.WatchIn{}) {
		check("Watch", err)
	}
}

// TestAttributes shows that the machine-read comments arrive at the runtime.
func TestAttributes(t *testing.T) {
	t.Parallel()
	got := map[string]varlink.Method{}
	for name, method := range sample.New(shop{}).Methods {
		if method.Handle == nil {
			t.Errorf("%s has no Handle", name)
		}
		method.Handle = nil
		got[name] = method
	}
	want := map[string]varlink.Method{
		"Ping":  {ReadOnly: true},
		"Echo":  {},
		"Count": {ReadOnly: true, More: varlink.MoreSupported},
		"Watch": {More: varlink.MoreRequired},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("methods (-want +got):\n%s", diff)
	}
}

// TestDescriptionIsServedUnchanged asks the service for the interface, as introspecting clients do.
func TestDescriptionIsServedUnchanged(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile(filepath.Join(".", sample.Interface+".varlink"))
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]string{"interface": sample.Interface}
	var out struct {
		Description string `json:"description"`
	}
	if err := dial(t, shop{}).Call(t.Context(), "org.varlink.service.GetInterfaceDescription", in, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.Description); diff != "" {
		t.Errorf("description (-want +got):\n%s", diff)
	}
}
