package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
	"github.com/imaged-project/imaged/varlink/gen/info"
	"github.com/imaged-project/imaged/varlink/gen/jobs"
	"github.com/imaged-project/imaged/varlink/gen/systemdservice"
	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// parametersLimit bounds what is read from standard input as parameters, in bytes: as much as a message may hold.
const parametersLimit = 16 << 20

// callOptions are the flags of call.
type callOptions struct {
	more, oneway bool
}

func newCallCommand(a *app) *cobra.Command {
	o := &callOptions{}
	cmd := &cobra.Command{
		Use: "call METHOD [JSON]", Short: "Call any method of the daemon",
		Long: `Call a method by its full name, with its parameters as a JSON object; - reads them from standard input. The parameters
of each reply are printed as JSON, one reply a line (indented on a terminal). An error is printed on standard
error as the reply it is.`,
		Example: `  imagectl call io.imaged.info.GetVersion
  imagectl call io.imaged.images.Get '{"name":"alpine"}'
  imagectl call --more io.imaged.transfers.Pull '{"reference":"alpine"}'
  imagectl call org.varlink.service.GetInterfaceDescription '{"interface":"io.imaged.images"}'`,
		Args: cobra.RangeArgs(1, 2), ValidArgsFunction: completeMethods,
	}
	cmd.Flags().BoolVar(&o.more, "more", false, "ask for more than one reply")
	cmd.Flags().BoolVar(&o.oneway, "oneway", false, "ask for no reply")
	cmd.MarkFlagsMutuallyExclusive("more", "oneway")
	cmd.RunE = a.run(func(ctx context.Context, args []string) error {
		a.json = true
		in, err := callParameters(a.streams.In, args[1:])
		if err != nil {
			return err
		}
		return a.withSession(ctx, func(s *session) error { return a.runCall(ctx, s, args[0], in, o) })
	})
	return cmd
}

// completeMethods proposes the methods that imagectl itself knows.
func completeMethods(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var methods []string
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, i := range []varlink.Interface{
		images.New(images.Unimplemented{}), transfers.New(transfers.Unimplemented{}), jobs.New(jobs.Unimplemented{}),
		info.New(info.Unimplemented{}), systemdservice.New(systemdservice.Unimplemented{}),
	} {
		for method := range i.Methods {
			methods = append(methods, i.Name+"."+method)
		}
	}
	slices.Sort(methods)
	return methods, cobra.ShellCompDirectiveNoFileComp
}

// callParameters reads and checks the parameters: the daemon would answer anything but an object by hanging up.
func callParameters(stdin io.Reader, args []string) (json.RawMessage, error) {
	text := []byte("{}")
	if len(args) > 0 {
		text = []byte(args[0])
	}
	if len(args) > 0 && args[0] == "-" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(stdin, parametersLimit)); err != nil {
			return nil, fmt.Errorf("parameters: %w", err)
		}
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		why := "null is none"
		if err != nil {
			why = err.Error()
		}
		return nil, &failure{
			code: exitUsage, what: "the parameters are no JSON object", why: why,
			next: `write them as '{"name":"alpine"}'`, err: err,
		}
	}
	return text, nil
}

func (a *app) runCall(ctx context.Context, s *session, method string, in json.RawMessage, o *callOptions) error {
	if !strings.Contains(method, ".") {
		return usagef("write it in full, as io.imaged.images.List", "%s is no method", method)
	}
	switch {
	case o.oneway:
		return s.client.Oneway(ctx, method, in)
	case !o.more:
		var out json.RawMessage
		if err := s.client.Call(ctx, method, in, &out); err != nil {
			return err
		}
		return a.printJSON(out)
	}
	for reply, err := range s.client.Stream(ctx, method, in) {
		if err != nil {
			return err
		}
		if err := a.printJSON(json.RawMessage(reply.Parameters)); err != nil {
			return err
		}
	}
	return nil
}
