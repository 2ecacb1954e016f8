package main

import (
	gotoken "go/token"
	"path/filepath"
	"strings"
)

// Generate makes the Go package of an interface file: its name and the code of its one file. The path is only for messages.
// The error of a refused file has one FILE:LINE line for each mistake.
func Generate(path, source string, opts options) (name string, code []byte, err error) {
	t, err := read(path, source, opts)
	if err != nil {
		return "", nil, err
	}
	found := &problems{file: path}
	if opts.lenient {
		hoist(t)
	}
	if opts.idlImport != "" && filepath.Base(path) != t.name+".varlink" {
		found.add(t.line, "the file of interface %s must be %s.varlink to be found in package idl", t.name, t.name)
	}
	if opts.packageName == "" {
		opts.packageName = defaultPackage(t.name)
	}
	if !gotoken.IsIdentifier(opts.packageName) {
		found.add(t.line, "%q cannot be the name of a Go package: choose one with -package", opts.packageName)
	}
	p := build(path, t, opts, found)
	if err := found.err(); err != nil {
		return "", nil, err
	}
	code, err = emit(p)
	return p.name, code, err
}

// read parses a file and checks it.
func read(path, source string, opts options) (*tree, error) {
	found := &problems{file: path}
	t := parse(source, scan(source, opts.lenient, found), found)
	if t == nil {
		return nil, found.err()
	}
	readMarkers(t, opts, found)
	check(t, opts, found)
	if len(found.list) == 0 {
		checkReading(t, found)
	}
	return t, found.err()
}

// defaultPackage is the last part of an interface's name without its dashes.
func defaultPackage(iface string) string {
	return strings.ReplaceAll(iface[strings.LastIndexByte(iface, '.')+1:], "-", "")
}
