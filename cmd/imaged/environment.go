package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	// secretName matches names of variables that tend to hold a secret.
	secretName = regexp.MustCompile(`(?i)pass|secret|token|api_?key|access_?key|credential|cookie`)
	// login matches values with a user and a password in a URL.
	login = regexp.MustCompile(`[^\s/@]*:[^\s/@]*@`)
)

func isSecret(variable string) bool {
	name, value, _ := strings.Cut(variable, "=")
	return secretName.MatchString(name) || login.MatchString(value)
}

// hideEnvironment takes variables that hold a secret out of the environment that children get: what unpacks layers and what
// runs in a build has no use for them. The proxies among them stay in force for this process.
func hideEnvironment() error {
	// The first question makes net/http read the proxies, once for all.
	// Its error would repeat the value; who needs the proxy gets one from each request.
	_, _ = http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: "registry.invalid"}})
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if isSecret(variable) {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// wipeEnvironment overwrites the values of such variables where the kernel put them at the start, from where /proc shows
// them, of a child too until it has begun to run another program. Go works with a copy of its own.
func wipeEnvironment() error {
	if !slices.ContainsFunc(os.Environ(), isSecret) {
		return nil
	}
	start, err := environmentAddress()
	if err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	block, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return err
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for variable := range bytes.SplitSeq(block, []byte{0}) {
		if name, value, _ := bytes.Cut(variable, []byte("=")); isSecret(string(variable)) {
			_, e := memory.WriteAt(make([]byte, len(value)), start+int64(len(name)+1))
			err = errors.Join(err, e)
		}
		start += int64(len(variable)) + 1
	}
	return errors.Join(err, memory.Close())
}

// environmentAddress is where the kernel put the environment.
func environmentAddress() (int64, error) {
	const field = 50 - 3 // env_start of proc(5), counted from what follows the program's name in brackets
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= field {
		return 0, errors.New("the kernel does not tell where it is")
	}
	return strconv.ParseInt(string(fields[field]), 10, 64)
}
