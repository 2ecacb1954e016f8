package main

import (
	"errors"
	"regexp"
)

// maxDepth bounds how deep types may be written inside types, so that no file can exhaust the stack.
const maxDepth = 32

// errSyntax ends the parsing; what is wrong has been noted already.
var errSyntax = errors.New("syntax error")

// The names that the specification allows.
var (
	interfaceName = regexp.MustCompile(`^[a-z]+(\.[a-z0-9]+(-[a-z0-9]+)*)+$`)
	memberName    = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	fieldName     = regexp.MustCompile(`^[a-z][A-Za-z0-9_]*$`)
)

// parser reads the tokens of a file by recursive descent.
type parser struct {
	tokens []token
	pos    int
	depth  int
	*problems
}

// parse reads an interface file. Problems go to found; the tree is nil when it could not be read to its end.
func parse(source string, tokens []token, found *problems) *tree {
	if len(tokens) == 0 {
		return nil
	}
	p := &parser{tokens: tokens, problems: found}
	t, err := p.file()
	if err != nil {
		return nil
	}
	t.source = source
	return t
}

func (p *parser) peek() token { return p.tokens[p.pos] }

// take returns the next token; the one at the end of the file stays.
func (p *parser) take() token {
	t := p.tokens[p.pos]
	if t.text != "" {
		p.pos++
	}
	return t
}

// fail notes a syntax error at the token.
func (p *parser) fail(at token, format string, args ...any) error {
	p.add(at.line, format, args...)
	return errSyntax
}

// unexpected notes that something else than the wanted thing was found.
func (p *parser) unexpected(at token, wanted string) error {
	if at.text == "" {
		return p.fail(at, "the file ends where %s should be", wanted)
	}
	return p.fail(at, "%q where %s should be", at.text, wanted)
}

// expect takes a token that must read so.
func (p *parser) expect(text string) (token, error) {
	t := p.take()
	if t.text != text {
		return t, p.unexpected(t, text)
	}
	return t, nil
}

// nameToken takes a name of the given form.
func (p *parser) nameToken(form *regexp.Regexp, wanted string) (token, error) {
	t := p.take()
	if !form.MatchString(t.text) {
		return t, p.unexpected(t, wanted)
	}
	return t, nil
}

func (p *parser) file() (*tree, error) {
	first, err := p.expect("interface")
	if err != nil {
		return nil, err
	}
	name, err := p.nameToken(interfaceName, "an interface name such as com.example.thing (lower case)")
	if err != nil {
		return nil, err
	}
	t := &tree{name: name.text, doc: first.doc, line: first.line}
	for p.peek().text != "" {
		if err := p.member(t); err != nil {
			return nil, err
		}
	}
	if len(t.methods) == 0 {
		return nil, p.fail(first, "interface %s has no method", t.name)
	}
	return t, nil
}

// member reads a type, a method or an error.
func (p *parser) member(t *tree) error {
	keyword := p.take()
	switch keyword.text {
	case "type", "error":
		d, err := p.decl(keyword)
		if err != nil {
			return err
		}
		if keyword.text == "type" {
			t.types = append(t.types, d)
		} else {
			t.errors = append(t.errors, d)
		}
		return nil
	case "method":
		m, err := p.method(keyword)
		if err != nil {
			return err
		}
		t.methods = append(t.methods, m)
		return nil
	default:
		return p.unexpected(keyword, "type, method or error")
	}
}

func (p *parser) decl(keyword token) (*decl, error) {
	name, err := p.nameToken(memberName, "a name with an upper case first letter")
	if err != nil {
		return nil, err
	}
	typ, err := p.group()
	if err != nil {
		return nil, err
	}
	return &decl{name: name.text, doc: keyword.doc, typ: typ, line: keyword.line}, nil
}

func (p *parser) method(keyword token) (*method, error) {
	name, err := p.nameToken(memberName, "a name with an upper case first letter")
	if err != nil {
		return nil, err
	}
	in, err := p.group()
	if err != nil {
		return nil, err
	}
	if _, err := p.expect("->"); err != nil {
		return nil, err
	}
	out, err := p.group()
	if err != nil {
		return nil, err
	}
	return &method{name: name.text, doc: keyword.doc, in: in, out: out, line: keyword.line}, nil
}

// group reads a struct or an enum: what stands between parentheses.
func (p *parser) group() (*typeExpr, error) {
	open, err := p.expect("(")
	if err != nil {
		return nil, err
	}
	t := &typeExpr{kind: kindStruct, line: open.line}
	if end := p.peek(); end.text == ")" {
		p.take()
		if !end.glue {
			return nil, p.fail(end, "blanks in (): the parser of varlink/go needs the two signs side by side")
		}
		return t, nil
	}
	for {
		f, err := p.field()
		if err != nil {
			return nil, err
		}
		if len(t.fields) == 0 && f.typ == nil {
			t.kind = kindEnum
		}
		if (t.kind == kindEnum) != (f.typ == nil) {
			p.add(f.line, "%s: a struct's fields all have types, an enum's members have none", f.name)
			return nil, errSyntax
		}
		t.fields = append(t.fields, f)
		sign := p.take()
		if sign.text == ")" {
			return t, nil
		}
		if sign.text != "," {
			return nil, p.unexpected(sign, "a comma or )")
		}
	}
}

// field reads a field with its type or a member of an enum.
func (p *parser) field() (*field, error) {
	name, err := p.nameToken(fieldName, "a name with a lower case first letter")
	if err != nil {
		return nil, err
	}
	f := &field{name: name.text, doc: name.doc, line: name.line}
	if p.peek().text != ":" {
		return f, nil
	}
	p.take()
	f.typ, err = p.typeExpr()
	return f, err
}

func (p *parser) typeExpr() (*typeExpr, error) {
	p.depth++
	defer func() { p.depth-- }()
	t := p.peek()
	switch {
	case p.depth > maxDepth:
		return nil, p.fail(t, "types inside types, more than %d deep", maxDepth)
	case t.text == "?":
		return p.nullable()
	case t.text == "[":
		return p.container()
	case t.text == "(":
		return p.group()
	case t.isWord():
		return p.typeName()
	default:
		return nil, p.unexpected(p.take(), "a type")
	}
}

// element reads the type behind ? and ], which must follow without a blank.
func (p *parser) element() (*typeExpr, error) {
	if t := p.peek(); t.text != "" && !t.glue {
		return nil, p.fail(t, "blank before %s: the parser of varlink/go takes none after ? and ]", t.text)
	}
	return p.typeExpr()
}

func (p *parser) nullable() (*typeExpr, error) {
	sign := p.take()
	elem, err := p.element()
	if err != nil {
		return nil, err
	}
	if elem.kind == kindNullable {
		return nil, p.fail(sign, "?? means no more than ?")
	}
	return &typeExpr{kind: kindNullable, elem: elem, line: sign.line}, nil
}

// container reads an array or a map.
func (p *parser) container() (*typeExpr, error) {
	open := p.take()
	k := kindArray
	if p.peek().text == "string" {
		p.take()
		k = kindMap
	}
	if _, err := p.expect("]"); err != nil {
		return nil, err
	}
	elem, err := p.element()
	if err != nil {
		return nil, err
	}
	return &typeExpr{kind: k, elem: elem, line: open.line}, nil
}

func (p *parser) typeName() (*typeExpr, error) {
	t := p.take()
	if k, ok := basic[t.text]; ok {
		return &typeExpr{kind: k, name: t.text, line: t.line}, nil
	}
	if t.text == "any" {
		return nil, p.fail(t, "any: the parser of varlink/go does not know it; use object")
	}
	if !memberName.MatchString(t.text) {
		return nil, p.unexpected(t, "a type: bool, int, float, string, object or the name of one")
	}
	return &typeExpr{kind: kindNamed, name: t.text, line: t.line}, nil
}
