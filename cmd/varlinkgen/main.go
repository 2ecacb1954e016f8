// Command varlinkgen turns a Varlink interface file into a Go package on top of this module's package varlink.
//
//	varlinkgen [-out DIR] [-package NAME] [-idl IMPORTPATH] [-lenient] [-more METHODS] FILE.varlink
//
// It writes DIR/NAME.go with the interface's types, typed errors, a Handler to implement, an embeddable Unimplemented and a
// Client. A comment line of its own right above a method is read by it: [Supports 'more' flag], [Requires 'more' flag] and
// [Read only]. A file that breaks the rules of the house (see check.go), or that the runtime's parser would read
// differently, is refused with one FILE:LINE line for each mistake.
//
// It exits with 0 when the package was written, 1 when the file was refused or could not be read or written, and 2 when
// it was called wrongly. Nothing imports it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The exit codes of the command.
const (
	exitDone    = 0
	exitRefused = 1
	exitUsage   = 2
)

// Streams are the standard streams of a run; tests pass buffers.
type Streams struct {
	Out io.Writer
	Err io.Writer
}

func main() {
	os.Exit(Main(os.Args[1:], Streams{Out: os.Stdout, Err: os.Stderr}))
}

// Main runs the command with the arguments that follow its name and returns its exit code.
func Main(args []string, streams Streams) int {
	opts, err := parseFlags(args, streams.Err)
	if errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	if err != nil {
		return exitUsage
	}
	if err := run(opts); err != nil {
		say(streams.Err, err.Error())
		return exitRefused
	}
	return exitDone
}

// commandLine is what the command was asked to do.
type commandLine struct {
	path string // the interface file
	out  string // the folder for the package
	options
}

func parseFlags(args []string, stderr io.Writer) (commandLine, error) {
	var c commandLine
	var more string
	flags := flag.NewFlagSet("varlinkgen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		say(stderr, "usage: varlinkgen [flags] FILE.varlink")
		flags.PrintDefaults()
	}
	flags.StringVar(&c.out, "out", ".", "folder to write the package to")
	flags.StringVar(&c.packageName, "package", "", "name of the package (default: the last part of the interface's name)")
	flags.StringVar(&c.idlImport, "idl", "", "import path of the package that embeds the file (default: the text is repeated in the generated code)")
	flags.BoolVar(&c.lenient, "lenient", false, "accept a foreign file: no comments, anonymous types, any case of names")
	flags.StringVar(&more, "more", "", "methods that support more though a foreign file does not say so, separated by commas")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return c, errors.New("one interface file is needed")
	}
	c.path = flags.Arg(0)
	c.more = strings.FieldsFunc(more, func(r rune) bool { return r == ',' })
	return c, nil
}

// say writes a line for people; where that fails nobody is left to be told.
func say(stderr io.Writer, text string) {
	_, _ = fmt.Fprintln(stderr, text)
}

// run generates the package and writes its one file.
func run(c commandLine) error {
	source, err := os.ReadFile(c.path)
	if err != nil {
		return err
	}
	name, code, err := Generate(c.path, string(source), c.options)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.out, name+".go"), code, 0o644)
}
