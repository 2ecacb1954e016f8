package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/varlink/go/varlink/idl"
)

// checkReading refuses a file that the parser of varlink/go, by which the runtime checks parameters, reads differently
// from how it was read here: generated code and runtime would not fit.
func checkReading(t *tree, found *problems) {
	parsed, err := reparse(t.source)
	if err != nil {
		found.add(t.line, "the parser of varlink/go refuses the file: %v", err)
		return
	}
	ours, theirs := t.members(), parsedMembers(parsed)
	for name, m := range ours {
		if theirs[name] != m.text {
			found.add(m.line, "%s: the parser of varlink/go reads %q instead of %q", name, theirs[name], m.text)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		if _, ok := ours[name]; !ok {
			found.add(t.line, "the parser of varlink/go reads a member %s too", name)
		}
	}
}

// reparse runs the parser of varlink/go, which panics on some files that end in a comment.
func reparse(source string) (parsed *idl.IDL, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
		}
	}()
	return idl.New(source)
}

// memberText is a member without blanks and comments.
type memberText struct {
	text string
	line int
}

func (t *tree) members() map[string]memberText {
	members := map[string]memberText{}
	for _, d := range slices.Concat(t.types, t.errors) {
		members[d.name] = memberText{d.typ.String(), d.line}
	}
	for _, m := range t.methods {
		members[m.name] = memberText{m.in.String() + "->" + m.out.String(), m.line}
	}
	return members
}

func parsedMembers(parsed *idl.IDL) map[string]string {
	members := map[string]string{}
	for _, a := range parsed.Aliases {
		members[a.Name] = parsedType(a.Type)
	}
	for _, e := range parsed.Errors {
		members[e.Name] = parsedType(e.Type)
	}
	for _, m := range parsed.Methods {
		members[m.Name] = parsedType(m.In) + "->" + parsedType(m.Out)
	}
	return members
}

// parsedKeywords are the kinds of the parser that have a keyword.
var parsedKeywords = map[idl.TypeKind]string{
	idl.TypeBool: "bool", idl.TypeInt: "int", idl.TypeFloat: "float", idl.TypeString: "string", idl.TypeObject: "object",
}

// parsedType writes a type of the parser as typeExpr.String does.
func parsedType(t *idl.Type) string {
	if t == nil {
		return ""
	}
	switch t.Kind {
	case idl.TypeAlias:
		return t.Alias
	case idl.TypeArray:
		return "[]" + parsedType(t.ElementType)
	case idl.TypeMap:
		return "[string]" + parsedType(t.ElementType)
	case idl.TypeMaybe:
		return "?" + parsedType(t.ElementType)
	case idl.TypeStruct, idl.TypeEnum:
		fields := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = f.Name
			if f.Type != nil {
				fields[i] += ":" + parsedType(f.Type)
			}
		}
		return "(" + strings.Join(fields, ",") + ")"
	default:
		return parsedKeywords[t.Kind]
	}
}
