package index

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// maxData is how many bytes a configuration or a manifest may have. The libraries take less.
const maxData = 32 << 20

// Names under which an image's data is kept.
const (
	manifestKey  = "manifest" // the manifest, and the beginning of the names of others
	configPrefix = "sha256:"  // with the image's id: the configuration
)

// Facts are what an image's data says. They never change for the same data.
type Facts struct {
	// ManifestType is the media type of the manifest the image is stored with. Empty if it is not known.
	ManifestType string
	// Annotations are the manifest's.
	Annotations map[string]string
	// Config is the configuration; nil for a manifest list or if it is not known.
	Config *Config
	// List is true of a manifest list.
	List bool
	// Instances are the images that a manifest list names.
	Instances []Instance
	// Err says why not everything is known of the image. Nil: everything is.
	Err error

	configKey string
	of        [2]string // digests of the manifest and the configuration as the record had them
}

// load gives every image its facts, those of new ones from the files, several at a time. It tells whether one that was
// not there before lacks some; with careful that one gets those it had before, and none if it had none.
func (x *Index) load(images []*Image, careful bool) (incomplete bool) {
	var unread []*Image
	for _, img := range images {
		if f := x.facts[img.ID]; f != nil && f.of == of(img) && !retry(f) {
			img.Facts = f
			continue
		}
		unread = append(unread, img)
	}
	work := make(chan *Image)
	var wg sync.WaitGroup
	for range min(len(unread), 2*runtime.NumCPU()) {
		wg.Go(func() {
			for img := range work {
				img.Facts = readFacts(img)
			}
		})
	}
	for _, img := range unread {
		work <- img
	}
	close(work)
	wg.Wait()
	for _, img := range unread {
		before := x.facts[img.ID]
		if img.Facts.Err != nil && (before == nil || before.of != img.Facts.of) {
			incomplete = true
			if careful {
				img.Facts = before
				continue
			}
		}
		x.facts[img.ID] = img.Facts
	}
	return incomplete
}

// of returns the digests that tell one state of an image's data from another: a manifest list is written anew under its id.
func of(img *Image) [2]string {
	return [2]string{img.data[manifestKey], img.data[configPrefix+img.ID]}
}

// retry tells whether a file that was missing may be there by now.
func retry(f *Facts) bool { return errors.Is(f.Err, os.ErrNotExist) }

func readFacts(img *Image) *Facts {
	f := &Facts{of: of(img)}
	data, err := img.read(manifestKey)
	if err != nil {
		f.Err = err
		return f
	}
	p, err := parseManifest(data)
	f.ManifestType, f.Annotations, f.List, f.Instances = p.mediaType, p.annotations, p.list, p.instances
	if err != nil || p.list {
		f.Err = err
		return f
	}
	if p.config == "" {
		f.Config, f.Err = schema1Config(data)
		return f
	}
	f.configKey = p.config
	data, err = img.read(p.config)
	if err == nil {
		err = verify(data, p.config)
	}
	if err != nil {
		f.Err = err
		return f
	}
	f.Config, f.Err = parseConfig(data)
	return f
}

// read returns a piece of data of an image.
func (img *Image) read(key string) ([]byte, error) {
	f, err := os.Open(filepath.Join(img.folder, fileName(key)))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(f, maxData+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxData {
		return nil, fmt.Errorf("%s: larger than %d bytes", f.Name(), maxData)
	}
	return data, nil
}

// Raw returns the configuration as it is stored, and of a manifest list the list. It fails with os.ErrNotExist if the
// image was removed meanwhile. An image of the old format that has no configuration gives its manifest.
func (img *Image) Raw() ([]byte, error) {
	if key := img.Facts.configKey; key != "" {
		data, err := img.read(key)
		if err == nil {
			err = verify(data, key)
		}
		return data, err
	}
	return img.read(manifestKey)
}

// fileName returns the name of the file in which the storage library keeps data of this name: the name itself if
// it is plain, else an encoding of it.
func fileName(key string) string {
	plain := !strings.ContainsFunc(key, func(r rune) bool {
		return r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
	if plain && key != "." && key != ".." {
		return key
	}
	return "=" + base64.StdEncoding.EncodeToString([]byte(key))
}

// digests returns every manifest digest that an image is known by, the one it is stored with first.
func digests(r *imageRecord) []string {
	var all []string
	add := func(d string) {
		if d != "" && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	add(r.Digest)
	for _, key := range r.BigDataNames {
		if strings.HasPrefix(key, manifestKey) {
			add(r.BigDataDigests[key])
		}
	}
	return all
}
