package main

import (
	"strings"

	"github.com/spf13/pflag"
)

// platformFlags are the flags that choose a platform, as podman has them.
type platformFlags struct {
	platform, os, architecture, variant string
}

// platform is a platform of an interface, whichever; nil parts are left to the daemon.
type platform struct {
	os, architecture, variant *string
}

func (p *platformFlags) add(flags *pflag.FlagSet, purpose string) {
	flags.StringVar(&p.platform, "platform", "", purpose+" the platform `OS/ARCH[/VARIANT]`")
	flags.StringVar(&p.os, "os", "", purpose+" the operating system `OS`")
	flags.StringVar(&p.architecture, "arch", "", purpose+" the architecture `ARCH`")
	flags.StringVar(&p.variant, "variant", "", purpose+" the variant `VARIANT` of the architecture")
}

// parse gives the platform that the flags choose, nil if they choose none.
func (p *platformFlags) parse() (*platform, error) {
	if *p == (platformFlags{}) {
		return nil, nil
	}
	single := platformFlags{os: p.os, architecture: p.architecture, variant: p.variant}
	if p.platform != "" {
		if single != (platformFlags{}) {
			return nil, usagef("leave out one or the other", "--platform says what --os, --arch and --variant say")
		}
		parts := strings.Split(p.platform, "/")
		if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
			return nil, usagef("write OS/ARCH[/VARIANT], as linux/arm64", "--platform %s is no platform", p.platform)
		}
		single.os, single.architecture = parts[0], parts[1]
		if len(parts) == 3 {
			single.variant = parts[2]
		}
	}
	return &platform{os: optional(single.os), architecture: optional(single.architecture), variant: optional(single.variant)}, nil
}

// optional gives nil for an empty text.
func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
