package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	upstream "github.com/varlink/go/varlink/idl"

	"github.com/imaged-project/imaged/idl"
	"github.com/imaged-project/imaged/tests/daemon"
)

// serviceName is the interface that every Varlink service has.
const serviceName = "org.varlink.service"

// serviceText is what the specification says of it.
const serviceText = `interface org.varlink.service
method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)
method GetInterfaceDescription(interface: string) -> (description: string)
error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
error PermissionDenied ()
error ExpectedMore ()
error ExpectedUpgrade ()
`

// contract is an interface as its file has it.
type contract struct {
	*upstream.IDL
	types map[string]*upstream.Type
}

// contracts are all interfaces of the daemon, by name.
var contracts = func() map[string]*contract {
	all := map[string]*contract{serviceName: parse(serviceText)}
	for _, name := range idl.Names() {
		all[name] = parse(idl.Description(name))
	}
	return all
}()

func parse(text string) *contract {
	parsed, err := upstream.New(text)
	if err != nil {
		panic(err)
	}
	c := &contract{parsed, map[string]*upstream.Type{}}
	for _, a := range parsed.Aliases {
		c.types[a.Name] = a.Type
	}
	return c
}

// method is one method of an interface.
type method struct {
	*upstream.Method
	of *contract
}

func (m method) full() string { return m.of.Name + "." + m.Name }
func (m method) readOnly() bool {
	return strings.Contains(m.Doc, "[Read only]") || m.of.Name == serviceName
}
func (m method) requiresMore() bool { return strings.Contains(m.Doc, "[Requires 'more' flag]") }
func (m method) supportsMore() bool {
	return m.requiresMore() || strings.Contains(m.Doc, "[Supports 'more' flag]")
}

// methods are all that the daemon has, in order.
func methods() []method {
	var all []method
	for _, c := range contracts {
		for _, m := range c.Methods {
			all = append(all, method{m, c})
		}
	}
	slices.SortFunc(all, func(a, b method) int { return strings.Compare(a.full(), b.full()) })
	return all
}

// checkReply holds a reply of a method against the interface file.
func checkReply(t testing.TB, m method, r daemon.Reply) {
	t.Helper()
	if r.Error != "" {
		checkError(t, m.of, r)
		return
	}
	if err := m.of.check(m.Out, r.Parameters, m.full()); err != nil {
		t.Errorf("reply of %s: %v: %s", m.full(), err, r.Raw)
	}
}

// checkError holds an error reply against the file of the interface that was called, or that of all services.
func checkError(t testing.TB, called *contract, r daemon.Reply) {
	t.Helper()
	i := strings.LastIndexByte(r.Error, '.')
	c := contracts[r.Error[:max(i, 0)]]
	if c == nil || c != called && c.Name != serviceName {
		t.Errorf("a call of %s ends with %s", called.Name, r.Raw)
		return
	}
	for _, e := range c.Errors {
		if c.Name+"."+e.Name == r.Error {
			parameters := r.Parameters
			if parameters == nil {
				parameters = []byte("{}")
			}
			if err := c.check(e.Type, parameters, r.Error); err != nil {
				t.Errorf("error reply: %v: %s", err, r.Raw)
			}
			return
		}
	}
	t.Errorf("%s does not declare the error %s", c.Name, r.Raw)
}

// check holds a value against a type.
func (c *contract) check(want *upstream.Type, value json.RawMessage, path string) error {
	wrong := func(kind string) error { return fmt.Errorf("%s is no %s: %.200s", path, kind, value) }
	var target any
	switch want.Kind {
	case upstream.TypeMaybe:
		if string(value) == "null" {
			return nil
		}
		return c.check(want.ElementType, value, path)
	case upstream.TypeAlias:
		return c.check(c.types[want.Alias], value, path)
	case upstream.TypeStruct, upstream.TypeMap:
		return c.checkFields(want, value, path)
	case upstream.TypeArray:
		return c.checkArray(want, value, path)
	case upstream.TypeEnum:
		var text string
		if json.Unmarshal(value, &text) != nil || !slices.ContainsFunc(want.Fields, func(f upstream.TypeField) bool { return f.Name == text }) {
			return wrong("value of the enum")
		}
		return nil
	case upstream.TypeObject:
		target = new(map[string]json.RawMessage)
	case upstream.TypeString:
		target = new(string)
	case upstream.TypeInt:
		target = new(int64)
	case upstream.TypeFloat:
		target = new(float64)
	case upstream.TypeBool:
		target = new(bool)
	}
	if string(value) == "null" || json.Unmarshal(value, target) != nil {
		return wrong(fmt.Sprintf("%T", target))
	}
	return nil
}

func (c *contract) checkArray(want *upstream.Type, value json.RawMessage, path string) error {
	var items []json.RawMessage
	if err := json.Unmarshal(value, &items); err != nil || items == nil {
		return fmt.Errorf("%s is no array: %.200s", path, value)
	}
	for i, item := range items {
		if err := c.check(want.ElementType, item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

func (c *contract) checkFields(want *upstream.Type, value json.RawMessage, path string) error {
	var fields map[string]json.RawMessage
	if !bytes.HasPrefix(value, []byte("{")) || json.Unmarshal(value, &fields) != nil {
		return fmt.Errorf("%s is no object: %.200s", path, value)
	}
	if want.Kind == upstream.TypeMap {
		for name, field := range fields {
			if err := c.check(want.ElementType, field, path+"."+name); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range want.Fields {
		field, there := fields[f.Name]
		delete(fields, f.Name)
		if !there && f.Type.Kind != upstream.TypeMaybe {
			return fmt.Errorf("%s.%s is not there", path, f.Name)
		}
		if !there {
			continue
		}
		if err := c.check(f.Type, field, path+"."+f.Name); err != nil {
			return err
		}
	}
	for name := range fields {
		return fmt.Errorf("%s.%s is in no interface file", path, name)
	}
	return nil
}
