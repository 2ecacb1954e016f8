package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// pathTransports are the transports whose references begin with a path.
var pathTransports = []string{"docker-archive", "oci-archive", "oci", "dir"}

// absolutePlace completes a path in a reference with a transport: the daemon's working folder is another one. Other
// references stay as they are.
func absolutePlace(reference string) (string, error) {
	transport, path, found := strings.Cut(reference, ":")
	if !found || !slices.Contains(pathTransports, transport) || path == "" || filepath.IsAbs(path) {
		return reference, nil
	}
	folder, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("working folder: %w", err)
	}
	// What follows the path must not be cleaned with it.
	return transport + ":" + folder + "/" + path, nil
}

// place is absolutePlace for references that mean an image of the store if they have no transport.
func place(reference string) (string, error) {
	transport, rest, found := strings.Cut(reference, ":")
	switch {
	case found && slices.Contains(pathTransports, transport):
		return absolutePlace(reference)
	case found && transport == "docker" && strings.HasPrefix(rest, "//"), found && transport == "containers-storage":
		return reference, nil
	}
	return "containers-storage:" + reference, nil
}
