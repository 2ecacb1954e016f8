package main

import "slices"

// hoist gives every anonymous struct and enum of a foreign file a name made of where it stands, such as TestInMyType, and
// declares it as a type. Structs without fields stay as they are.
func hoist(t *tree) {
	h := hoister{tree: t}
	for _, d := range slices.Clone(t.types) {
		h.fields(d.name, d.typ)
	}
	for _, m := range t.methods {
		h.fields(m.name+"In", m.in)
		h.fields(m.name+"Out", m.out)
	}
	for _, d := range t.errors {
		h.fields(d.name+"Error", d.typ)
	}
}

type hoister struct{ *tree }

func (h hoister) fields(owner string, typ *typeExpr) {
	for _, f := range typ.fields {
		if f.typ != nil {
			h.name(owner+goName(f.name), f.typ)
		}
	}
}

// name declares the anonymous type inside typ, if there is one, under the given name.
func (h hoister) name(name string, typ *typeExpr) {
	typ = typ.bare()
	if typ.kind != kindEnum && typ.kind != kindStruct || len(typ.fields) == 0 {
		return
	}
	inner := *typ
	h.types = append(h.types, &decl{name: name, typ: &inner, line: typ.line})
	*typ = typeExpr{kind: kindNamed, name: name, line: typ.line}
	h.fields(name, &inner)
}
