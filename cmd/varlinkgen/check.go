package main

import (
	"regexp"
	"slices"
)

// The names of the house: fields in camelCase, members of enums in lower case with underscores.
var (
	camelCase = regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`)
	snakeCase = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
)

// check notes what is wrong with the meaning of a file; a foreign file (options.lenient) is spared the rules of the house.
func check(t *tree, opts options, found *problems) {
	checkMembers(t, found)
	checkReferences(t, found)
	checkFields(t, found)
	checkRecursion(t, found)
	if opts.lenient {
		return
	}
	checkDocumented(t, found)
	checkNames(t, found)
	checkShapes(t, found)
}

// checkMembers refuses two members of one name, and enums where only a struct can be.
func checkMembers(t *tree, found *problems) {
	lines := map[string]int{}
	once := func(name string, line int) {
		if first, ok := lines[name]; ok {
			found.add(max(first, line), "%s is declared already, on line %d", name, min(first, line))
			return
		}
		lines[name] = line
	}
	wantStruct := func(what string, typ *typeExpr) {
		if typ.kind != kindStruct {
			found.add(typ.line, "%s: fields need types", what)
		}
	}
	for _, d := range t.types {
		once(d.name, d.line)
	}
	for _, m := range t.methods {
		once(m.name, m.line)
		wantStruct("method "+m.name, m.in)
		wantStruct("method "+m.name, m.out)
	}
	for _, d := range t.errors {
		once(d.name, d.line)
		wantStruct("error "+d.name, d.typ)
	}
}

// checkReferences refuses types that are declared nowhere.
func checkReferences(t *tree, found *problems) {
	declared := t.declared()
	t.eachType(func(owner string, typ *typeExpr) {
		if typ.kind == kindNamed && declared[typ.name] == nil {
			found.add(typ.line, "%s: type %s is not declared in this file", owner, typ.name)
		}
	})
}

// checkFields refuses two fields or members of one name, or of one Go name.
func checkFields(t *tree, found *problems) {
	t.eachType(func(owner string, typ *typeExpr) {
		seen := map[string]*field{}
		for _, f := range typ.fields {
			first := seen[goName(f.name)]
			switch {
			case first == nil:
				seen[goName(f.name)] = f
			case first.name == f.name:
				found.add(f.line, "%s: %s stands there twice, first on line %d", owner, f.name, first.line)
			default:
				found.add(f.line, "%s: %s and %s (line %d) are both %s in Go", owner, f.name, first.name, first.line, goName(f.name))
			}
		}
	})
	for _, d := range t.errors {
		for _, f := range d.typ.fields {
			if name := goName(f.name); name == "Error" || name == "VarlinkError" {
				found.add(f.line, "error %s: a field %s clashes with the Go method %s", d.name, f.name, name)
			}
		}
	}
}

// checkRecursion refuses a struct that holds itself with no ?, [] or [string] between: no value of it could ever end.
func checkRecursion(t *tree, found *problems) {
	declared := t.declared()
	var reaches func(typ *typeExpr, goal *decl, seen map[*decl]bool) bool
	reaches = func(typ *typeExpr, goal *decl, seen map[*decl]bool) bool {
		if typ.kind == kindNamed {
			d := declared[typ.name]
			if d == nil || seen[d] {
				return d == goal && d != nil
			}
			seen[d] = true
			return d == goal || reaches(d.typ, goal, seen)
		}
		return slices.ContainsFunc(typ.fields, func(f *field) bool {
			return f.typ != nil && reaches(f.typ, goal, seen)
		})
	}
	for _, d := range t.types {
		if reaches(d.typ, d, map[*decl]bool{}) {
			found.add(d.line, "type %s holds itself: put a ? or [] before the field that leads back", d.name)
		}
	}
}

// checkDocumented refuses whatever has no comment above it; members of enums may go without.
func checkDocumented(t *tree, found *problems) {
	want := func(line int, what string, doc []string) {
		if !slices.ContainsFunc(doc, func(line string) bool { return line != "" }) {
			found.add(line, "%s has no comment above it", what)
		}
	}
	want(t.line, "interface "+t.name, t.doc)
	for _, d := range t.types {
		want(d.line, "type "+d.name, d.doc)
	}
	for _, m := range t.methods {
		want(m.line, "method "+m.name, m.doc)
	}
	for _, d := range t.errors {
		want(d.line, "error "+d.name, d.doc)
	}
	t.eachType(func(owner string, typ *typeExpr) {
		for _, f := range typ.fields {
			if f.typ != nil {
				want(f.line, owner+": field "+f.name, f.doc)
			}
		}
	})
}

// checkNames refuses names that are not written as the house writes them.
func checkNames(t *tree, found *problems) {
	t.eachType(func(owner string, typ *typeExpr) {
		for _, f := range typ.fields {
			if f.typ != nil && !camelCase.MatchString(f.name) {
				found.add(f.line, "%s: field %s is not in camelCase", owner, f.name)
			}
			if f.typ == nil && !snakeCase.MatchString(f.name) {
				found.add(f.line, "%s: member %s is not in lower case with underscores", owner, f.name)
			}
		}
	})
}

// checkShapes refuses anonymous types, and what varlinkctl refuses: containers of containers or of what may be null, and
// types without fields.
func checkShapes(t *tree, found *problems) {
	for _, d := range t.types {
		if len(d.typ.fields) == 0 {
			found.add(d.line, "type %s has no fields, which varlinkctl refuses", d.name)
		}
	}
	t.eachType(func(owner string, typ *typeExpr) {
		for _, f := range typ.fields {
			if f.typ != nil && f.typ.bare().hasFields() {
				found.add(f.line, "%s: field %s has an anonymous type: declare it with a name", owner, f.name)
			}
		}
		switch {
		case !typ.isContainer():
		case typ.elem.kind == kindNullable:
			found.add(typ.line, "%s: %s is a container of what may be null, which varlinkctl refuses: take the inner ? out", owner, typ)
		case typ.elem.isContainer():
			found.add(typ.line, "%s: %s is a container of a container, which varlinkctl refuses: declare a type for the inner one", owner, typ)
		}
	})
}
