package varlink

import (
	"errors"
	"fmt"
	"strings"

	"github.com/varlink/go/varlink/idl"
)

// schema is a type of an interface description, made for checking values.
type schema struct {
	kind   idl.TypeKind
	elem   reference           // of an array or a map
	fields []schemaField       // of a structure
	index  map[string]int      // name to position in fields
	values map[string]struct{} // of an enum
}

// reference is the use of a type.
type reference struct {
	*schema
	nullable bool
}

// schemaField is a field of a structure.
type schemaField struct {
	name       string
	descriptor bool // its integers are indexes of passed descriptors
	reference
}

// description is what the server knows of an interface from its text.
type description struct {
	name    string
	methods map[string]*schema // input parameters
}

// parseDescription reads an interface description and makes the schemas of its methods' parameters.
func parseDescription(text string) (*description, error) {
	parsed, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("varlink: interface description: %w", err)
	}
	c := compiler{aliases: make(map[string]*idl.Type), done: make(map[string]*schema)}
	for _, a := range parsed.Aliases {
		c.aliases[a.Name] = a.Type
	}
	d := &description{name: parsed.Name, methods: make(map[string]*schema)}
	for _, m := range parsed.Methods {
		in, err := c.compile(m.In)
		if err == nil && (in.kind != idl.TypeStruct || in.nullable) {
			err = errors.New("parameters are not a structure")
		}
		if err != nil {
			return nil, fmt.Errorf("varlink: %s.%s: %w", parsed.Name, m.Name, err)
		}
		d.methods[m.Name] = in.schema
	}
	return d, nil
}

// parse is the parser of varlink/go, which panics on a text that ends in a comment.
func parse(text string) (parsed *idl.IDL, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("parser: %v", v)
		}
	}()
	return idl.New(text)
}

// compiler turns parsed types into schemas. A named type becomes one schema, so that it may contain itself.
type compiler struct {
	aliases map[string]*idl.Type
	done    map[string]*schema
}

func (c *compiler) compile(t *idl.Type) (reference, error) {
	switch t.Kind {
	case idl.TypeAlias:
		return c.named(t.Alias)
	case idl.TypeMaybe:
		s, err := c.compile(t.ElementType)
		s.nullable = true
		return s, err
	}
	s := &schema{}
	return reference{schema: s}, c.fillIn(s, t)
}

// named compiles a type of the description once.
func (c *compiler) named(name string) (reference, error) {
	if s, ok := c.done[name]; ok {
		return reference{schema: s}, nil
	}
	t, ok := c.aliases[name]
	switch {
	case !ok:
		return reference{}, fmt.Errorf("type %s is not defined", name)
	case t.Kind == idl.TypeAlias || t.Kind == idl.TypeMaybe:
		return reference{}, fmt.Errorf("type %s is only another name for a type", name)
	}
	s := &schema{}
	c.done[name] = s
	return reference{schema: s}, c.fillIn(s, t)
}

// fillIn makes s the schema of t, which is neither nullable nor a name of another.
func (c *compiler) fillIn(s *schema, t *idl.Type) (err error) {
	s.kind = t.Kind
	switch t.Kind {
	case idl.TypeArray, idl.TypeMap:
		s.elem, err = c.compile(t.ElementType)
	case idl.TypeEnum:
		s.values = make(map[string]struct{}, len(t.Fields))
		for _, f := range t.Fields {
			s.values[f.Name] = struct{}{}
		}
	case idl.TypeStruct:
		err = c.fields(s, t)
	}
	return err
}

func (c *compiler) fields(s *schema, t *idl.Type) error {
	s.index = make(map[string]int, len(t.Fields))
	for i, f := range t.Fields {
		if _, double := s.index[f.Name]; double {
			return fmt.Errorf("field %s is there twice", f.Name)
		}
		sub, err := c.compile(f.Type)
		if err != nil {
			return err
		}
		s.index[f.Name] = i
		s.fields = append(s.fields, schemaField{name: f.Name, descriptor: namesDescriptor(f.Name), reference: sub})
	}
	return nil
}

// isEnumValue says whether an enum has this value; systemd's clients may write - for _.
func (s *schema) isEnumValue(value string) bool {
	_, ok := s.values[strings.ReplaceAll(value, "-", "_")]
	return ok
}

// namesDescriptor says whether a field's integers are indexes of descriptors, by systemd's way of naming them.
func namesDescriptor(field string) bool {
	field = strings.TrimSuffix(field, "s")
	return field == "fileDescriptor" || strings.HasSuffix(field, "FileDescriptor")
}
