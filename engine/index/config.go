package index

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/containers/image/v5/manifest"
	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config is what an OCI or docker image configuration says.
type Config struct {
	// Created is when the image was made; nil if it does not say.
	Created *time.Time `json:"created"`
	// Author is who made it.
	Author string `json:"author"`
	// Comment is docker's comment on the whole image.
	Comment string `json:"comment"`
	// OS, Architecture and Variant are the platform.
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
	// Run is how a container is run from it.
	Run RunConfig `json:"config"`
	// RootFS are its layers.
	RootFS struct {
		// DiffIDs are the digests of the uncompressed layers, base first.
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	// History are its steps, oldest first.
	History []Step `json:"history"`

	// chain[n] stands for the first n steps: equal for two images if these are.
	chain []uint64
}

// RunConfig is the part of a configuration that containers start with.
type RunConfig struct {
	User         string              `json:"User"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts"`
	Env          []string            `json:"Env"`
	Entrypoint   []string            `json:"Entrypoint"`
	Cmd          []string            `json:"Cmd"`
	Volumes      map[string]struct{} `json:"Volumes"`
	WorkingDir   string              `json:"WorkingDir"`
	Labels       map[string]string   `json:"Labels"`
	StopSignal   string              `json:"StopSignal"`
	OnBuild      []string            `json:"OnBuild"`
}

// Step is a step of an image's making.
type Step struct {
	Created   *time.Time `json:"created"`
	CreatedBy string     `json:"created_by"`
	Author    string     `json:"author"`
	Comment   string     `json:"comment"`
	Empty     bool       `json:"empty_layer"`
}

// Instance is an image that a manifest list names.
type Instance struct {
	// Digest is that of the image's manifest.
	Digest string
	// Platform is what the list says the image was made for; nil if nothing.
	Platform *imgspec.Platform
}

// parseConfig reads a configuration.
func parseConfig(data []byte) (*Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c, lenient); err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	c.chain = chainOf(c.History)
	return &c, nil
}

// seed makes chains differ from process to process: nobody can make two images that only seem alike.
var seed = maphash.MakeSeed()

func chainOf(history []Step) []uint64 {
	chain := make([]uint64, 1, len(history)+1)
	for i, s := range history {
		var made int64
		if s.Created != nil {
			made = s.Created.UnixNano()
		}
		chain = append(chain, maphash.Comparable(seed, struct {
			before                     uint64
			dated, empty               bool
			made                       int64
			createdBy, author, comment string
		}{chain[i], s.Created != nil, s.Empty, made, s.CreatedBy, s.Author, s.Comment}))
	}
	return chain
}

// parsed is what a manifest says.
type parsed struct {
	mediaType   string
	config      string // its digest; empty: there is none
	annotations map[string]string
	instances   []Instance // of a manifest list
	list        bool
}

// parseManifest reads a manifest of any kind.
func parseManifest(data []byte) (parsed, error) {
	kind := manifest.GuessMIMEType(data)
	p := parsed{mediaType: kind, list: manifest.MIMETypeIsMultiImage(kind)}
	switch {
	case p.list:
		return p, p.parseList(data)
	case kind == imgspec.MediaTypeImageManifest, kind == manifest.DockerV2Schema2MediaType:
		var m struct {
			Config struct {
				Digest string `json:"digest"`
			} `json:"config"`
			Annotations map[string]string `json:"annotations"`
		}
		if err := json.Unmarshal(data, &m, lenient); err != nil {
			return p, fmt.Errorf("manifest: %w", err)
		}
		p.config, p.annotations = m.Config.Digest, m.Annotations
		return p, nil
	case kind == manifest.DockerV2Schema1MediaType, kind == manifest.DockerV2Schema1SignedMediaType:
		return p, nil
	}
	return p, fmt.Errorf("manifest: of no known kind")
}

func (p *parsed) parseList(data []byte) error {
	var list struct {
		Manifests []struct {
			Digest   string            `json:"digest"`
			Platform *imgspec.Platform `json:"platform"`
		} `json:"manifests"`
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(data, &list, lenient); err != nil {
		return fmt.Errorf("manifest list: %w", err)
	}
	p.annotations = list.Annotations
	for _, m := range list.Manifests {
		p.instances = append(p.instances, Instance{Digest: m.Digest, Platform: m.Platform})
	}
	return nil
}

// verify tells whether data is what its digest says.
func verify(data []byte, want string) error {
	d, err := digest.Parse(want)
	if err != nil {
		return fmt.Errorf("digest %q: %w", want, err)
	}
	v := d.Verifier()
	if _, err := bytes.NewReader(data).WriteTo(v); err != nil {
		return err
	}
	if !v.Verified() {
		return fmt.Errorf("data does not have the digest %s", want)
	}
	return nil
}
