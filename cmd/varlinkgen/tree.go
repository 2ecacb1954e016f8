package main

import "strings"

// kind is what a type expression is.
type kind int

const (
	kindBool kind = iota
	kindInt
	kindFloat
	kindString
	kindObject
	kindNamed
	kindStruct
	kindEnum
	kindArray
	kindMap
	kindNullable
)

// basic holds the types that have a keyword.
var basic = map[string]kind{
	"bool": kindBool, "int": kindInt, "float": kindFloat, "string": kindString, "object": kindObject,
}

// typeExpr is a type as it is written in the file.
type typeExpr struct {
	kind   kind
	name   string    // of kindNamed and of the basic ones
	elem   *typeExpr // of kindArray, kindMap and kindNullable
	fields []*field  // of kindStruct and kindEnum
	line   int
}

// field is a field of a struct or, without a type, a member of an enum.
type field struct {
	name string
	doc  []string
	typ  *typeExpr
	line int
}

// decl is a type or an error of the interface.
type decl struct {
	name string
	doc  []string
	typ  *typeExpr
	line int
}

// method is a method of the interface.
type method struct {
	name     string
	doc      []string // without the machine-read lines
	in, out  *typeExpr
	line     int
	readOnly bool
	more     moreMode
}

// moreMode tells what a method makes of the more flag.
type moreMode int

const (
	moreUnsupported moreMode = iota
	moreSupported
	moreRequired
)

// tree is one interface file.
type tree struct {
	name    string
	doc     []string
	line    int
	types   []*decl
	methods []*method
	errors  []*decl
	source  string
}

// String writes the type as the IDL has it, without blanks and comments.
func (t *typeExpr) String() string {
	switch t.kind {
	case kindArray:
		return "[]" + t.elem.String()
	case kindMap:
		return "[string]" + t.elem.String()
	case kindNullable:
		return "?" + t.elem.String()
	case kindStruct, kindEnum:
		fields := make([]string, len(t.fields))
		for i, f := range t.fields {
			fields[i] = f.name
			if f.typ != nil {
				fields[i] += ":" + f.typ.String()
			}
		}
		return "(" + strings.Join(fields, ",") + ")"
	default:
		return t.name
	}
}

// walk calls visit for the type and all types written inside it, outer ones first.
func (t *typeExpr) walk(visit func(*typeExpr)) {
	visit(t)
	if t.elem != nil {
		t.elem.walk(visit)
	}
	for _, f := range t.fields {
		if f.typ != nil {
			f.typ.walk(visit)
		}
	}
}

// eachType calls visit for every type expression of the interface, with what it belongs to: a type, an error, or the
// input or output of a method.
func (t *tree) eachType(visit func(owner string, typ *typeExpr)) {
	each := func(owner string, typ *typeExpr) {
		typ.walk(func(inner *typeExpr) { visit(owner, inner) })
	}
	for _, d := range t.types {
		each("type "+d.name, d.typ)
	}
	for _, m := range t.methods {
		each("method "+m.name, m.in)
		each("method "+m.name, m.out)
	}
	for _, d := range t.errors {
		each("error "+d.name, d.typ)
	}
}

// declared returns the types of the interface by their names; of two with one name the first.
func (t *tree) declared() map[string]*decl {
	types := map[string]*decl{}
	for _, d := range t.types {
		if types[d.name] == nil {
			types[d.name] = d
		}
	}
	return types
}

func (t *typeExpr) isContainer() bool { return t.kind == kindArray || t.kind == kindMap }

// hasFields tells a struct or an enum.
func (t *typeExpr) hasFields() bool { return t.kind == kindStruct || t.kind == kindEnum }

// bare returns the type without any ?, [] and [string].
func (t *typeExpr) bare() *typeExpr {
	for t.elem != nil {
		t = t.elem
	}
	return t
}
