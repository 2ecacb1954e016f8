package varlink_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/varlink"
	"go.uber.org/goleak"
)

const testInterface = "io.example.test"

const testDescription = `# What the tests call.
interface io.example.test

type Color (red, dark_blue)

type Point (x: int, y: ?int, next: ?Point)

# Does nothing.
method Empty() -> ()

# Returns its text.
method Echo(text: string) -> (text: string)

# Counts, one number a reply.
# [Supports 'more' flag]
method Count(upTo: int) -> (number: int)

# Runs until it is stopped.
# [Requires 'more' flag]
method Watch() -> (number: int)

# Runs what the test wants.
method Run() -> ()

# Takes all kinds of parameters.
method Check(
  color: ?Color,
  tags: ?[]string,
  place: ?Point,
  ratio: ?float,
  flag: ?bool,
  numbers: ?[string]int,
  points: ?[]Point,
  anything: ?object
) -> ()

# Returns empty things, and characters that HTML escapes.
method Lists() -> (list: []string, dictionary: [string]string, text: string)

# Reads a file.
method ReadFile(fileDescriptor: int) -> (content: string)

# Reads files.
method ReadFiles(fileDescriptors: []int) -> (contents: []string)

# Opens a pipe with this content.
method OpenFile(content: string) -> (fileDescriptor: int)

# Upgrades to a protocol that repeats every byte in upper case.
method Shout(greeting: string) -> (greeting: string)

# Is not implemented.
method Missing() -> ()

error Broken(reason: string)
`

type broken struct {
	Reason string `json:"reason"`
}

func (e *broken) Error() string        { return "broken: " + e.Reason }
func (e *broken) VarlinkError() string { return testInterface + ".Broken" }

var testErrors = map[string]func() varlink.Error{
	testInterface + ".Broken": func() varlink.Error { return new(broken) },
}

type (
	empty    struct{}
	textBody struct {
		Text string `json:"text"`
	}
	countIn struct {
		UpTo int64 `json:"upTo"`
	}
	numberBody struct {
		Number int64 `json:"number"`
	}
	listsOut struct {
		List       []string          `json:"list"`
		Dictionary map[string]string `json:"dictionary"`
		Text       string            `json:"text"`
	}
	descriptorBody struct {
		FileDescriptor int64 `json:"fileDescriptor"`
	}
	descriptorsIn struct {
		FileDescriptors []int64 `json:"fileDescriptors"`
	}
	contentBody struct {
		Content string `json:"content"`
	}
	contentsOut struct {
		Contents []string `json:"contents"`
	}
	greetingBody struct {
		Greeting string `json:"greeting"`
	}
)

// newServer returns a server with the test interface; run is what the methods Run and Watch do.
func newServer(t testing.TB, run func(ctx context.Context, c *varlink.Call) error) *varlink.Server {
	t.Helper()
	s := &varlink.Server{Vendor: "Example", Product: "Test", Version: "1", URL: "https://example.com"}
	register(t, s, run)
	return s
}

func register(t testing.TB, s *varlink.Server, run func(ctx context.Context, c *varlink.Call) error) {
	t.Helper()
	if run == nil {
		run = func(_ context.Context, c *varlink.Call) error { return c.Reply(nil) }
	}
	err := s.Register(varlink.Interface{Name: testInterface, Description: testDescription, Methods: map[string]varlink.Method{
		"Empty":     {ReadOnly: true, Handle: varlink.Handle(doNothing)},
		"Echo":      {Handle: varlink.Handle(echo)},
		"Count":     {ReadOnly: true, More: varlink.MoreSupported, Handle: varlink.HandleStream(count)},
		"Watch":     {ReadOnly: true, More: varlink.MoreRequired, Handle: run},
		"Run":       {Handle: run},
		"Check":     {Handle: func(_ context.Context, c *varlink.Call) error { return c.Reply(nil) }},
		"Lists":     {Handle: varlink.Handle(lists)},
		"ReadFile":  {Handle: varlink.Handle(readFile)},
		"ReadFiles": {Handle: varlink.Handle(readFiles)},
		"OpenFile":  {Handle: varlink.Handle(openFile)},
		"Shout":     {Handle: shout},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func doNothing(context.Context, empty) (empty, error) { return empty{}, nil }

func echo(_ context.Context, in textBody) (textBody, error) { return in, nil }

func count(_ context.Context, in countIn, send func(numberBody) error) (numberBody, error) {
	for n := range in.UpTo {
		if err := send(numberBody{n}); err != nil {
			return numberBody{}, err
		}
	}
	return numberBody{in.UpTo}, nil
}

func lists(context.Context, empty) (listsOut, error) { return listsOut{Text: "<&>"}, nil }

func readFile(ctx context.Context, in descriptorBody) (contentBody, error) {
	content, err := readDescriptor(ctx, in.FileDescriptor)
	return contentBody{content}, err
}

func readFiles(ctx context.Context, in descriptorsIn) (contentsOut, error) {
	var out contentsOut
	for _, index := range in.FileDescriptors {
		content, err := readDescriptor(ctx, index)
		if err != nil {
			return out, err
		}
		out.Contents = append(out.Contents, content)
	}
	return out, nil
}

func readDescriptor(ctx context.Context, index int64) (string, error) {
	f, err := varlink.CallFrom(ctx).TakeFile(index, "fileDescriptor")
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	return string(content), err
}

func openFile(ctx context.Context, in contentBody) (descriptorBody, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return descriptorBody{}, err
	}
	if _, err := w.WriteString(in.Content); err != nil {
		return descriptorBody{}, err
	}
	if err := w.Close(); err != nil {
		return descriptorBody{}, err
	}
	return descriptorBody{varlink.CallFrom(ctx).PushFile(r)}, nil
}

func shout(_ context.Context, c *varlink.Call) error {
	var in greetingBody
	if err := c.Decode(&in); err != nil {
		return err
	}
	conn, err := c.Upgrade(&in)
	if err != nil {
		return err
	}
	buf := make([]byte, 512)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			if _, err := conn.Write([]byte(strings.ToUpper(string(buf[:n])))); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pipeWith returns the reading end of a pipe that holds content.
func pipeWith(t testing.TB, content string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMain(m *testing.M) {
	if activated() {
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
