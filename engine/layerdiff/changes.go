package layerdiff

import (
	"iter"
	"slices"
	"strings"
)

// Kind is what happened to a path.
type Kind string

// The kinds.
const (
	// Added is a path that was not there before.
	Added Kind = "added"
	// Changed is a path that was something else before, or a folder with changes in it.
	Changed Kind = "changed"
	// Deleted is a path that is gone.
	Deleted Kind = "deleted"
)

// Change is one changed path.
type Change struct {
	// Path begins with a slash.
	Path string
	// Kind is what happened to it.
	Kind Kind
}

// Changes yields what is otherwise after than before, sorted by path. Of a folder that is gone only the
// folder itself is told, of a new one everything in it; a folder in which something changed has changed, too. No layer may be added while
// it runs or after it.
func (c *Comparison) Changes() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		c.root.mark()
		c.root.walk("/", yield)
	}
}

// kind tells what happened to the path itself; empty: nothing.
func (n *node) kind() Kind {
	old, now := n.state[0], n.state[1]
	switch {
	case old.layer == 0 && now.layer == 0:
		return ""
	case old.layer == 0:
		return Added
	case now.layer == 0:
		return Deleted
	case old.sum != now.sum || old.dir != now.dir || n.dirty:
		return Changed
	}
	return ""
}

// mark finds out which folders have changes in them, and tells whether there is one at this path.
func (n *node) mark() bool {
	n.dirty = false
	for _, child := range n.children {
		if child.mark() && n.state[1].dir {
			n.dirty = true
		}
	}
	return n.kind() != ""
}

// step is one thing to tell of: a path, or all that is below it.
type step struct {
	key   string
	node  *node
	below bool
}

// walk yields the changes below a path, which ends with a slash. It returns false once nobody wants more.
func (n *node) walk(path string, yield func(Change) bool) bool {
	if !n.state[1].dir {
		return true // what was below it went with it
	}
	steps := make([]step, 0, len(n.children))
	for name, child := range n.children {
		if child.kind() == "" {
			continue
		}
		steps = append(steps, step{name, child, false})
		if len(child.children) > 0 {
			steps = append(steps, step{name + "/", child, true}) // a-b comes between a and a/b
		}
	}
	slices.SortFunc(steps, func(a, b step) int { return strings.Compare(a.key, b.key) })
	for _, s := range steps {
		if s.below {
			if !s.node.walk(path+s.key, yield) {
				return false
			}
		} else if !yield(Change{Path: path + s.key, Kind: s.node.kind()}) {
			return false
		}
	}
	return true
}
