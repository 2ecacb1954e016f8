package varlink

import (
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/varlink/go/varlink/idl"
)

// validate checks parameters, which are well-formed JSON, against a method's schema, and that they name each of the
// call's descriptors exactly once. The error names the first parameter that is wrong.
func (s *schema) validate(parameters []byte, descriptors int) *InvalidParameterError {
	if len(parameters) == 2 && len(s.fields) == 0 && descriptors == 0 { // {}
		return nil
	}
	d := newDecoder(parameters)
	defer d.put()
	v := validator{decoder: d, named: make([]bool, descriptors)}
	if invalid := v.structure(s, ""); invalid != nil {
		return invalid
	}
	for _, named := range v.named {
		if !named {
			return &InvalidParameterError{Parameter: s.descriptorField()}
		}
	}
	return nil
}

// descriptorField is the name to blame for a descriptor that no parameter names.
func (s *schema) descriptorField() string {
	for _, f := range s.fields {
		if f.descriptor {
			return f.name
		}
	}
	return "fileDescriptor"
}

// validator walks parameters and schema side by side.
type validator struct {
	*decoder
	named []bool // which descriptors a parameter has named
}

// value checks the next value, of the field called path.
func (v *validator) value(s reference, path string, descriptor bool) *InvalidParameterError {
	kind := v.PeekKind()
	if kind == jsontext.KindNull && s.nullable {
		return v.skip(path)
	}
	if kind != jsonKind(s.kind) && (s.kind != idl.TypeBool || kind != jsontext.KindTrue) {
		return &InvalidParameterError{Parameter: path}
	}
	switch s.kind {
	case idl.TypeArray:
		return v.array(s.schema, path, descriptor)
	case idl.TypeMap:
		return v.dictionary(s.schema, path, descriptor)
	case idl.TypeStruct:
		return v.structure(s.schema, path)
	case idl.TypeInt, idl.TypeFloat, idl.TypeEnum:
		return v.scalar(s.schema, path, descriptor)
	}
	return v.skip(path)
}

// jsonKind is the JSON kind of a type's values; of the booleans' two, false.
func jsonKind(kind idl.TypeKind) jsontext.Kind {
	switch kind {
	case idl.TypeBool:
		return jsontext.KindFalse
	case idl.TypeInt, idl.TypeFloat:
		return jsontext.KindNumber
	case idl.TypeString, idl.TypeEnum:
		return jsontext.KindString
	case idl.TypeArray:
		return jsontext.KindBeginArray
	}
	return jsontext.KindBeginObject
}

func (v *validator) skip(path string) *InvalidParameterError {
	if v.SkipValue() != nil {
		return &InvalidParameterError{Parameter: path}
	}
	return nil
}

// scalar checks a number's range, an index, or an enum's value.
func (v *validator) scalar(s *schema, path string, descriptor bool) *InvalidParameterError {
	text, err := v.ReadValue()
	switch {
	case err != nil:
	case s.kind == idl.TypeFloat:
		_, err = strconv.ParseFloat(string(text), 64)
	case s.kind == idl.TypeEnum:
		var value string
		if value, err = unquote(text); err == nil && !s.isEnumValue(value) {
			err = strconv.ErrRange
		}
	default:
		var n int64
		if n, err = strconv.ParseInt(string(text), 10, 64); err == nil && descriptor && !v.name(n) {
			err = strconv.ErrRange
		}
	}
	if err != nil {
		return &InvalidParameterError{Parameter: path}
	}
	return nil
}

// name notes that a parameter names the descriptor at index; false if there is none, or it has been named.
func (v *validator) name(index int64) bool {
	if index < 0 || index >= int64(len(v.named)) || v.named[index] {
		return false
	}
	v.named[index] = true
	return true
}

func (v *validator) array(s *schema, path string, descriptor bool) *InvalidParameterError {
	_, err := v.ReadToken()
	for err == nil && v.PeekKind() != jsontext.KindEndArray {
		if invalid := v.value(s.elem, path, descriptor); invalid != nil {
			return invalid
		}
	}
	return v.end(path)
}

func (v *validator) dictionary(s *schema, path string, descriptor bool) *InvalidParameterError {
	_, err := v.ReadToken()
	for err == nil && v.PeekKind() == jsontext.KindString {
		if invalid := v.skip(path); invalid != nil { // the key
			return invalid
		}
		if invalid := v.value(s.elem, path, descriptor); invalid != nil {
			return invalid
		}
	}
	return v.end(path)
}

func (v *validator) structure(s *schema, path string) *InvalidParameterError {
	if path != "" {
		path += "."
	}
	var few [32]bool
	seen := few[:]
	if len(s.fields) > len(few) {
		seen = make([]bool, len(s.fields))
	}
	_, err := v.ReadToken()
	for err == nil && v.PeekKind() == jsontext.KindString {
		quoted, err := v.ReadValue()
		if err != nil {
			return &InvalidParameterError{Parameter: path}
		}
		i, ok := s.field(quoted)
		if !ok {
			name, _ := unquote(quoted)
			return &InvalidParameterError{Parameter: path + name}
		}
		f := &s.fields[i]
		seen[i] = true
		if invalid := v.value(f.reference, path+f.name, f.descriptor); invalid != nil {
			return invalid
		}
	}
	for i := range s.fields {
		if !seen[i] && !s.fields[i].nullable {
			return &InvalidParameterError{Parameter: path + s.fields[i].name}
		}
	}
	return v.end(strings.TrimSuffix(path, "."))
}

// field finds a field by its quoted name.
func (s *schema) field(quoted []byte) (int, bool) {
	if i, ok := s.index[string(quoted[1:len(quoted)-1])]; ok {
		return i, true
	}
	name, err := unquote(quoted)
	i, ok := s.index[name]
	return i, err == nil && ok
}

// end reads the closing bracket.
func (v *validator) end(path string) *InvalidParameterError {
	if _, err := v.ReadToken(); err != nil {
		return &InvalidParameterError{Parameter: path}
	}
	return nil
}
