package names

import (
	"runtime"
	"strings"

	"github.com/containerd/platforms"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform is what an image runs on. Empty fields of a wanted platform take anything.
type Platform struct {
	// OS is the operating system, as Go spells it.
	OS string
	// Architecture is the processor's, as Go spells it; x86_64 and aarch64 are understood, too.
	Architecture string
	// Variant is the architecture's, as v7.
	Variant string
}

// Host returns the platform of this machine.
func Host() Platform {
	host := platforms.DefaultSpec()
	return Platform{OS: host.OS, Architecture: host.Architecture, Variant: host.Variant}
}

// FromSpec converts a platform of an image index or configuration.
func FromSpec(p imgspec.Platform) Platform {
	return Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

// Normalize spells the platform as Go does. Empty fields stay empty.
func (p Platform) Normalize() Platform {
	os, arch := p.OS, p.Architecture
	n := platforms.Normalize(imgspec.Platform{OS: orDefault(os, runtime.GOOS), Architecture: orDefault(arch, runtime.GOARCH), Variant: p.Variant})
	if os != "" {
		os = n.OS
	}
	if arch != "" {
		return Platform{OS: os, Architecture: n.Architecture, Variant: n.Variant}
	}
	return Platform{OS: os, Variant: strings.ToLower(p.Variant)}
}

// WithHost fills the empty fields of the operating system and the architecture with this machine's.
func (p Platform) WithHost() Platform {
	p.OS = orDefault(p.OS, runtime.GOOS)
	p.Architecture = orDefault(p.Architecture, runtime.GOARCH)
	return p
}

// Accepts tells whether something made for the other platform will do where this one is wanted.
func (p Platform) Accepts(other Platform) bool {
	p, other = p.Normalize(), other.Normalize()
	return accepts(p.OS, other.OS) && accepts(p.Architecture, other.Architecture) && accepts(p.Variant, other.Variant)
}

// String writes the platform as os/architecture/variant, any for an empty field before a set one.
func (p Platform) String() string {
	s := orDefault(p.OS, "any") + "/" + orDefault(p.Architecture, "any")
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

func accepts(wanted, have string) bool { return wanted == "" || wanted == have }

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
