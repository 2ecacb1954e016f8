package main

import (
	"path"
	"slices"
	"strings"
)

// options are what the caller of the generator chooses.
type options struct {
	packageName string   // empty: the last part of the interface's name
	idlImport   string   // empty: the description is a literal
	lenient     bool     // a foreign file
	more        []string // methods that support more, whatever the file says
}

// pkg is the Go package of one interface.
type pkg struct {
	name      string
	iface     string
	file      string // the interface file's base name
	doc       []string
	source    string
	idlImport string
	types     []*goType // declared types, then inputs and outputs of methods
	methods   []*goMethod
	errors    []*goType
}

// goType is a struct, an enum or an error type.
type goType struct {
	name    string
	wire    string   // of errors
	doc     []string // as Go has it, the name in front
	enum    bool
	fields  []goField
	members []goMember
}

// goField is a field of a struct.
type goField struct {
	name, wire, typ string
	doc             []string
	omitZero        bool
}

// goMember is a constant of an enum.
type goMember struct {
	name, wire string
	doc        []string
}

// goMethod is a method with the names of its input and output types.
type goMethod struct {
	name, wire, in, out string
	doc                 []string
	readOnly            bool
	more                moreMode
}

func (m *goMethod) streams() bool { return m.more != moreUnsupported }

// builder turns the tree into the package; it notes names that two things would have.
type builder struct {
	pkg     *pkg
	kinds   map[string]kind   // struct or enum, by IDL name
	names   map[string]string // Go names of types by IDL names
	taken   map[string]string // what has a Go name already
	lenient bool
	*problems
}

// build makes the Go package of a file that was found good.
func build(file string, t *tree, opts options, found *problems) *pkg {
	b := &builder{
		pkg: &pkg{
			name: opts.packageName, iface: t.name, file: path.Base(file), doc: t.doc, source: t.source, idlImport: opts.idlImport,
		},
		kinds: map[string]kind{}, names: map[string]string{}, taken: map[string]string{}, lenient: opts.lenient, problems: found,
	}
	for _, name := range []string{"Interface", "Errors", "Handler", "Unimplemented", "Client", "New", "NewClient"} {
		b.taken[name] = "the one of every package"
	}
	b.types(t)
	b.methods(t)
	b.errors(t)
	return b.pkg
}

// types adds the declared types; all have their names before the first field refers to one.
func (b *builder) types(t *tree) {
	for _, d := range t.types {
		b.names[d.name] = b.claim(d.line, goName(d.name), "type "+d.name)
		b.kinds[d.name] = d.typ.kind
	}
	for _, d := range t.types {
		b.pkg.types = append(b.pkg.types, b.declared(d))
	}
}

func (b *builder) errors(t *tree) {
	for _, d := range t.errors {
		name := b.claim(d.line, errorName(d.name), "error "+d.name)
		doc := goDoc(name, "is the error "+d.name+" of "+t.name+".", d.doc)
		b.pkg.errors = append(b.pkg.errors, &goType{name: name, wire: d.name, doc: doc, fields: b.fields(d.typ)})
	}
}

// goDoc makes a Go comment of one in the interface file: its first line gets the Go name in front. Where the file has no
// comment, what the name is stands for it.
func goDoc(name, is string, doc []string) []string {
	if len(doc) > 0 {
		return append([]string{name + " - " + doc[0]}, doc[1:]...)
	}
	if is == "" {
		return nil
	}
	return []string{name + " " + is}
}

// claim reserves a name in the package; in a foreign file a name that is taken gets another.
func (b *builder) claim(line int, name, what string) string {
	if _, ok := b.taken[name]; ok && b.lenient {
		name += "Type"
	}
	if holder, ok := b.taken[name]; ok {
		b.add(line, "%s: its Go name %s is taken by %s", what, name, holder)
		return name
	}
	b.taken[name] = what
	return name
}

func (b *builder) declared(d *decl) *goType {
	name := b.names[d.name]
	t := &goType{name: name, doc: goDoc(name, "is a type of "+b.pkg.iface+".", d.doc)}
	if d.typ.kind == kindStruct {
		t.fields = b.fields(d.typ)
		return t
	}
	t.enum = true
	for _, f := range d.typ.fields {
		name := b.claim(f.line, t.name+goName(f.name), "member "+f.name+" of type "+d.name)
		t.members = append(t.members, goMember{name: name, wire: f.name, doc: goDoc(name, "", f.doc)})
	}
	return t
}

func (b *builder) fields(typ *typeExpr) []goField {
	fields := make([]goField, len(typ.fields))
	for i, f := range typ.fields {
		fields[i] = goField{
			name: goName(f.name), wire: f.name, typ: b.goType(f.typ, false), doc: f.doc,
			omitZero: f.typ.kind == kindNullable,
		}
	}
	return fields
}

func (b *builder) methods(t *tree) {
	calls := map[string]string{}
	call := func(m *method, name string) {
		if other, ok := calls[name]; ok {
			b.add(m.line, "method %s: the client's method %s is that of method %s", m.name, name, other)
		}
		calls[name] = m.name
	}
	for _, m := range t.methods {
		g := b.method(t, m)
		call(m, g.name)
		if g.streams() {
			call(m, g.name+"Stream")
		}
		b.pkg.methods = append(b.pkg.methods, g)
	}
}

// method makes a method and adds the types of its input and output.
func (b *builder) method(t *tree, m *method) *goMethod {
	name := goName(m.name)
	g := &goMethod{name: name, wire: m.name, readOnly: m.readOnly, more: m.more}
	g.doc = goDoc(name, "calls "+t.name+"."+m.name+".", m.doc)
	g.in = b.claim(m.line, name+"In", "method "+m.name)
	g.out = b.claim(m.line, name+"Out", "method "+m.name)
	reply := " is what " + name + " replies."
	if g.streams() {
		reply = " is one reply of " + name + "."
	}
	b.pkg.types = append(b.pkg.types,
		&goType{name: g.in, doc: []string{g.in + " is what " + name + " takes."}, fields: b.fields(m.in)},
		&goType{name: g.out, doc: []string{g.out + reply}, fields: b.fields(m.out)})
	return g
}

// goType writes a type in Go. What may be null is a pointer; as a field of a struct, a nil slice or map and an empty enum
// do as well.
func (b *builder) goType(t *typeExpr, inContainer bool) string {
	switch t.kind {
	case kindInt:
		return "int64"
	case kindFloat:
		return "float64"
	case kindObject:
		return "jsontext.Value"
	case kindNamed:
		return b.names[t.name]
	case kindStruct:
		return "struct{}"
	case kindArray:
		return "[]" + b.goType(t.elem, true)
	case kindMap:
		return "map[string]" + b.goType(t.elem, true)
	case kindNullable:
		if t.elem.kind == kindObject || !inContainer && b.hasNull(t.elem) {
			return b.goType(t.elem, inContainer)
		}
		return "*" + b.goType(t.elem, inContainer)
	default:
		return t.name
	}
}

// hasNull tells whether the zero value of the Go type can stand for null in a field.
func (b *builder) hasNull(t *typeExpr) bool {
	return t.isContainer() || t.kind == kindNamed && b.kinds[t.name] == kindEnum
}

// objects tells whether any type of the package needs jsontext.
func (p *pkg) objects() bool {
	return slices.ContainsFunc(slices.Concat(p.types, p.errors), func(t *goType) bool {
		return slices.ContainsFunc(t.fields, func(f goField) bool { return strings.HasSuffix(f.typ, "jsontext.Value") })
	})
}

func (p *pkg) enums() bool {
	return slices.ContainsFunc(p.types, func(t *goType) bool { return t.enum })
}

func (p *pkg) streams() bool { return slices.ContainsFunc(p.methods, (*goMethod).streams) }
