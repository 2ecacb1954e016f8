package varlink_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/imaged-project/imaged/varlink"
)

const greeterDescription = `# Greets.
interface io.example.greeter

# Greets somebody.
method Greet(name: string) -> (greeting: string)

# Counts down, one number a reply.
# [Requires 'more' flag]
method CountDown(start: int) -> (number: int)

# Somebody is not welcome.
error NotWelcome(name: string)
`

type greetIn struct {
	Name string `json:"name"`
}

type greetOut struct {
	Greeting string `json:"greeting"`
}

type countDown struct {
	Start int64 `json:"start"`
}

type countedDown struct {
	Number int64 `json:"number"`
}

// notWelcome is an error of the interface: its fields are the parameters.
type notWelcome struct {
	Name string `json:"name"`
}

func (e *notWelcome) Error() string        { return e.Name + " is not welcome" }
func (e *notWelcome) VarlinkError() string { return "io.example.greeter.NotWelcome" }

func greet(_ context.Context, in greetIn) (greetOut, error) {
	if in.Name == "Mallory" {
		return greetOut{}, &notWelcome{in.Name}
	}
	return greetOut{"Hello, " + in.Name + "!"}, nil
}

func countDownTo0(_ context.Context, in countDown, send func(countedDown) error) (countedDown, error) {
	for n := in.Start; n > 0; n-- {
		if err := send(countedDown{n}); err != nil {
			return countedDown{}, err
		}
	}
	return countedDown{0}, nil
}

func greeter() varlink.Interface {
	return varlink.Interface{
		Name:        "io.example.greeter",
		Description: greeterDescription,
		Methods: map[string]varlink.Method{
			"Greet":     {ReadOnly: true, Handle: varlink.Handle(greet)},
			"CountDown": {ReadOnly: true, More: varlink.MoreRequired, Handle: varlink.HandleStream(countDownTo0)},
		},
	}
}

// A server, a client, and an error that keeps its type over the wire. Generated code takes the place of most of this.
func Example() {
	dir, err := os.MkdirTemp("", "greeter")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	address := "unix:" + filepath.Join(dir, "socket")

	server := &varlink.Server{Vendor: "Example", Product: "Greeter", Version: "1"}
	if err := server.Register(greeter()); err != nil {
		log.Fatal(err)
	}
	listener, err := varlink.Listen(address, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()

	ctx := context.Background()
	client, err := varlink.Dial(ctx, address)
	if err != nil {
		log.Fatal(err)
	}
	var out greetOut
	if err := client.Call(ctx, "io.example.greeter.Greet", greetIn{"Alice"}, &out); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out.Greeting)

	err = client.Call(ctx, "io.example.greeter.Greet", greetIn{"Mallory"}, &out)
	err = varlink.DecodeErrors(err, map[string]func() varlink.Error{
		"io.example.greeter.NotWelcome": func() varlink.Error { return new(notWelcome) },
	})
	if refused, ok := errors.AsType[*notWelcome](err); ok {
		fmt.Println("refused:", refused.Name)
	}

	for reply, err := range client.Stream(ctx, "io.example.greeter.CountDown", countDown{2}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(reply.Parameters))
	}

	if err := errors.Join(client.Close(), server.Shutdown(ctx)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-done)
	// Output:
	// Hello, Alice!
	// refused: Mallory
	// {"number":2}
	// {"number":1}
	// {"number":0}
	// varlink: server closed
}
