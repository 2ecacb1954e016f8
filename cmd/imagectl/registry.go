package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/imaged-project/imaged/varlink/gen/transfers"
)

// passwordLimit bounds what is read as a password, in bytes.
const passwordLimit = 64 << 10

// registryFlags are the flags of commands that talk to a registry, as podman has them.
type registryFlags struct {
	creds         string
	passwordStdin bool
	tlsVerify     bool
}

func (r *registryFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&r.creds, "creds", "", "credentials `USER[:PASSWORD]` for the registry; others on this host may see a password given so, one that is left out is asked for")
	flags.BoolVar(&r.passwordStdin, "password-stdin", false, "read the password of --creds from standard input")
	flags.BoolVar(&r.tlsVerify, "tls-verify", true, "verify the registry's certificate; false allows plain HTTP too")
}

// addSide adds the flags for one of two registries, as skopeo has them.
func (r *registryFlags) addSide(flags *pflag.FlagSet, prefix, side string) {
	flags.StringVar(&r.creds, prefix+"creds", "", "credentials `USER[:PASSWORD]` for the "+side+"'s registry; a password that is left out is asked for")
	flags.BoolVar(&r.tlsVerify, prefix+"tls-verify", true, "verify the certificate of the "+side+"'s registry; false allows plain HTTP too")
}

// credentials gives what --creds says, with the password from where the user wants it read; nil without --creds.
func (r *registryFlags) credentials(s Streams) (*transfers.Credentials, error) {
	user, password, has := strings.Cut(r.creds, ":")
	switch {
	case user == "" && !r.passwordStdin && r.creds == "":
		return nil, nil
	case user == "":
		return nil, usagef("give --creds USER", "the user name is missing")
	case has && r.passwordStdin:
		return nil, usagef("leave out one or the other", "--creds holds a password, and --password-stdin reads one")
	}
	if !has {
		var err error
		if password, err = r.readPassword(s, user); err != nil {
			return nil, err
		}
	}
	return &transfers.Credentials{Username: &user, Password: &password}, nil
}

func (r *registryFlags) readPassword(s Streams, user string) (string, error) {
	if r.passwordStdin {
		text, err := io.ReadAll(io.LimitReader(s.In, passwordLimit))
		if err != nil {
			return "", fmt.Errorf("password: %w", err)
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
	}
	if s.InTerminal == nil {
		return "", usagef("give it by --password-stdin or as USER:PASSWORD", "there is no terminal to ask for the password of %s on", user)
	}
	say(s.Err, "Password for %s: ", escape(user))
	password, err := term.ReadPassword(int(s.InTerminal.Fd()))
	say(s.Err, "\n")
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	return string(password), nil
}
