package layerdiff

import (
	"errors"
	"hash/maphash"
	"path"
	"strings"

	"github.com/vbatts/tar-split/archive/tar"
)

// ErrTooLarge says that the file systems have more paths than the limit of the comparison has room for.
var ErrTooLarge = errors.New("too many paths to compare")

// Side tells which of the two file systems a layer belongs to.
type Side uint8

// The sides.
const (
	// Before is the one that is compared with.
	Before Side = 1 << iota
	// After is the one whose changes are wanted.
	After
	// Both have the layer.
	Both = Before | After
)

const (
	whiteout = ".wh."         // before the name of a path that the layer takes away
	opaque   = ".wh..wh..opq" // in a folder of which the layer takes everything away
	metadata = ".wh..wh."     // before the paths of what a layer of aufs has for itself
)

// nodeCost is about how many bytes a node takes, besides its name.
const nodeCost = 200

// node is a path. It stays when the path is gone from both sides.
type node struct {
	name     string
	children map[string]*node
	state    [2]state // before and after
	dirty    bool     // set by mark
}

// state is what a path is on one side.
type state struct {
	layer int32 // the last one that has it or something in it, counted from 1; 0: it is not there
	dir   bool
	sum   uint64 // stands for everything that tells it from another
}

// Comparison is two file systems that are being built, then their differences. It is for one goroutine.
type Comparison struct {
	root  node
	layer int32
	used  int64 // bytes, about
	limit int64
	seed  maphash.Seed
	plain uint64 // sum of a folder that no tar has an entry for
}

// New makes a comparison of two empty file systems. It takes about limit bytes at most.
func New(limit int64) *Comparison {
	c := &Comparison{limit: limit, seed: maphash.MakeSeed()}
	c.plain = c.sum(&tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	c.root.state = [2]state{{layer: -1, dir: true}, {layer: -1, dir: true}}
	return c
}

// begin begins a layer on top of those before.
func (c *Comparison) begin() { c.layer++ }

// entry applies an entry of the layer that was begun last. The checksum is of a file's content.
func (c *Comparison) entry(sides Side, h *tar.Header, checksum []byte) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	dir, base := path.Split(name)
	if name == "" || h.Typeflag == tar.TypeXGlobalHeader || strings.HasPrefix(name, metadata) && base != opaque {
		return nil
	}
	for i := range c.root.state {
		if sides&(1<<i) == 0 {
			continue
		}
		parent, err := c.folder(i, dir)
		if err != nil {
			return err
		}
		switch {
		case base == opaque:
			c.clear(i, parent)
		case strings.HasPrefix(base, whiteout):
			c.remove(i, parent.children[base[len(whiteout):]])
		default:
			if err := c.put(i, parent, base, h, checksum); err != nil {
				return err
			}
		}
	}
	return nil
}

// folder returns a folder of a side. What is missing of it is made, as the storage library makes it.
func (c *Comparison) folder(side int, dir string) (*node, error) {
	n := &c.root
	for name := range strings.SplitSeq(strings.TrimSuffix(dir, "/"), "/") {
		if name == "" {
			break
		}
		child, err := c.child(n, name)
		if err != nil {
			return nil, err
		}
		if s := &child.state[side]; s.layer == 0 || !s.dir {
			*s = state{dir: true, sum: c.plain}
		}
		child.state[side].layer = c.layer // a whiteout of this layer does not take it away
		n = child
	}
	return n, nil
}

func (c *Comparison) child(n *node, name string) (*node, error) {
	if child := n.children[name]; child != nil {
		return child, nil
	}
	if c.used += nodeCost + int64(len(name)); c.used > c.limit {
		return nil, ErrTooLarge
	}
	if n.children == nil {
		n.children = make(map[string]*node)
	}
	child := &node{name: strings.Clone(name)} // not a part of a path that would be kept with it
	n.children[child.name] = child
	return child, nil
}

// put makes a path what its header says.
func (c *Comparison) put(side int, parent *node, base string, h *tar.Header, checksum []byte) error {
	n, err := c.child(parent, base)
	if err != nil {
		return err
	}
	now := state{layer: c.layer, dir: h.Typeflag == tar.TypeDir}
	if now.sum = c.sum(h, checksum); h.Typeflag == tar.TypeLink {
		if target := c.find(side, h.Linkname); target != nil {
			now.sum = target.state[side].sum // it is the same file
		}
	}
	if n.state[side].dir && !now.dir {
		for _, child := range n.children {
			c.drop(side, child, 0)
		}
	}
	n.state[side] = now
	return nil
}

// find returns what a path is on a side, or nil.
func (c *Comparison) find(side int, name string) *node {
	n := &c.root
	for part := range strings.SplitSeq(strings.TrimPrefix(path.Clean("/"+name), "/"), "/") {
		if n = n.children[part]; n == nil || n.state[side].layer == 0 {
			return nil
		}
	}
	return n
}

// clear takes away what lower layers have in a folder.
func (c *Comparison) clear(side int, n *node) {
	for _, child := range n.children {
		c.remove(side, child)
	}
}

// remove takes away what lower layers have at a path. What this layer has there stays: a whiteout is about those below,
// wherever in the tar it stands.
func (c *Comparison) remove(side int, n *node) {
	if n != nil {
		c.drop(side, n, c.layer)
	}
}

// drop takes away a path and all below it, except what a layer has; 0: none.
func (c *Comparison) drop(side int, n *node, except int32) {
	if s := &n.state[side]; s.layer == 0 {
		return // nothing below it, either
	} else if s.layer != except {
		*s = state{}
	}
	for _, child := range n.children {
		c.drop(side, child, except)
	}
}

// sum makes a number of what tells a path from another. As podman does, it leaves out when a folder was changed.
func (c *Comparison) sum(h *tar.Header, checksum []byte) uint64 {
	kind := h.Typeflag
	if kind == tar.TypeRegA || kind == tar.TypeGNUSparse || kind == tar.TypeCont {
		kind = tar.TypeReg
	}
	what := struct {
		kind                         byte
		mode, size, major, minor, at int64
		uid, gid                     int
		link                         string
		content, attributes          uint64
	}{kind: kind, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid, attributes: c.attributes(h)}
	switch kind {
	case tar.TypeReg:
		what.size, what.at, what.content = h.Size, h.ModTime.Unix(), maphash.Bytes(c.seed, checksum)
	case tar.TypeSymlink, tar.TypeLink:
		what.link, what.at = h.Linkname, h.ModTime.Unix()
	case tar.TypeChar, tar.TypeBlock:
		what.major, what.minor = h.Devmajor, h.Devminor
	}
	return maphash.Comparable(c.seed, what)
}

// attributes makes a number of a header's extended attributes, in whatever order they come.
func (c *Comparison) attributes(h *tar.Header) uint64 {
	const prefix = "SCHILY.xattr."
	var all uint64
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, prefix) {
			all += maphash.Comparable(c.seed, [2]string{key, value})
		}
	}
	return all
}
