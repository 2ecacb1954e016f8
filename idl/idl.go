// Package idl holds the Varlink interface files of imaged, as clients see them.
//
// The files are the API: they are embedded here and served byte for byte, and everything under varlink/gen is generated
// from them. The package imports nothing but the standard library. Generated packages, the daemon and tests may import it.
package idl

import (
	"embed"
	"fmt"
	"strings"
)

// suffix ends the name of every interface file; before it stands the interface's name.
const suffix = ".varlink"

//go:embed *.varlink
var files embed.FS

// Description returns the text of an interface, such as io.imaged.images, as its file has it. It panics when there is
// no such file: names are constants of generated code, so that is a mistake of the build. It is safe for concurrent use.
func Description(name string) string {
	text, err := files.ReadFile(name + suffix)
	if err != nil {
		panic(fmt.Sprintf("idl: no interface %q: %v", name, err))
	}
	return string(text)
}

// Names returns the names of all interfaces, sorted. The caller owns the slice.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(fmt.Sprintf("idl: embedded files: %v", err))
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, strings.TrimSuffix(entry.Name(), suffix))
	}
	return names
}
