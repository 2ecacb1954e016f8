package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// around puts declarations between the head and a method of a good file; the first of their lines is line 3.
func around(lines ...string) string {
	return "# An interface.\ninterface com.example.bad\n" + strings.Join(lines, "\n") +
		"\n# Do it.\nmethod Do() -> ()\n"
}

// refusals holds for each rule a file that breaks it and all that the generator says of it.
var refusals = []struct {
	name   string
	source string
	want   []string
}{
	{"empty file", "", []string{`bad.varlink:1: the file ends where interface should be`}},
	{"not UTF-8", "# a\n# \xff\n", []string{`bad.varlink:2: invalid UTF-8: save the file as UTF-8`}},
	{"control character", "# a\x00\n", []string{`bad.varlink:1: control character U+0000: take it out`}},
	{"byte order mark", "\ufeff# a\n", []string{`bad.varlink:1: control character U+FEFF: take it out`}},
	{
		"interface name without a dot", "# A.\ninterface bad\n",
		[]string{`bad.varlink:2: "bad" where an interface name such as com.example.thing (lower case) should be`},
	},
	{
		"upper case in the interface name", "# A.\ninterface com.example.Bad\n",
		[]string{`bad.varlink:2: "com.example.Bad" where an interface name such as com.example.thing (lower case) should be`},
	},
	{"no method", "# A.\ninterface com.example.bad\n", []string{`bad.varlink:2: interface com.example.bad has no method`}},
	{"unknown keyword", around("struct Foo ()"), []string{`bad.varlink:3: "struct" where type, method or error should be`}},
	{"unknown sign", around("# A.", "type Foo {}"), []string{`bad.varlink:4: "{" where ( should be`}},
	{
		"lower case type", around("# A.", "type foo ()"),
		[]string{`bad.varlink:4: "foo" where a name with an upper case first letter should be`},
	},
	{
		"trailing comma", around("# A.", "type Foo (", "# B.", "a: int,", ")"),
		[]string{`bad.varlink:7: ")" where a name with a lower case first letter should be`},
	},
	{
		"missing comma", around("# A.", "type Foo (", "# B.", "a: int", "# C.", "b: int)"),
		[]string{`bad.varlink:8: "b" where a comma or ) should be`},
	},
	{"unfinished", "# A.\ninterface com.example.bad\n# B.\nmethod Do() -> (", []string{
		`bad.varlink:4: the file ends where a name with a lower case first letter should be`,
	}},
	{"no arrow", around("# A.", "method Foo() ()"), []string{`bad.varlink:4: "(" where -> should be`}},
	{"blank in ()", around("# A.", "type Foo ( )"), []string{
		`bad.varlink:4: blanks in (): the parser of varlink/go needs the two signs side by side`,
	}},
	{"blank after ?", around("# A.", "type Foo (", "# B.", "a: ? int)"), []string{
		`bad.varlink:6: blank before int: the parser of varlink/go takes none after ? and ]`,
	}},
	{"twice nullable", around("# A.", "type Foo (", "# B.", "a: ??int)"), []string{`bad.varlink:6: ?? means no more than ?`}},
	{"map with other keys", around("# A.", "type Foo (", "# B.", "a: [int]int)"), []string{`bad.varlink:6: "int" where ] should be`}},
	{"any", around("# A.", "type Foo (", "# B.", "a: any)"), []string{
		`bad.varlink:6: any: the parser of varlink/go does not know it; use object`,
	}},
	{"unknown type word", around("# A.", "type Foo (", "# B.", "a: integer)"), []string{
		`bad.varlink:6: "integer" where a type: bool, int, float, string, object or the name of one should be`,
	}},
	{"no type", around("# A.", "type Foo (", "# B.", "a: ,", "# C.", "b: int)"), []string{`bad.varlink:6: "," where a type should be`}},
	{"struct and enum in one", around("# A.", "type Foo (", "# B.", "a: int,", "b)"), []string{
		`bad.varlink:7: b: a struct's fields all have types, an enum's members have none`,
	}},
	{"too deep", around("# A.", "type Foo (", "# B.", "a: "+strings.Repeat("[]", 40)+"int)"), []string{
		`bad.varlink:6: types inside types, more than 32 deep`,
	}},
	{"bare #", around("# A.", "#", "# B.", "type Foo (a, b)"), []string{
		`bad.varlink:4: bare #: the parser of varlink/go would swallow the next line; write text behind it or leave the line out`,
	}},
	{"bare # above a method", "# A.\ninterface com.example.bad\n# B.\nmethod Foo() -> ()\n# C.\n#\nmethod Bar() -> ()\n", []string{
		`bad.varlink:6: bare #: the parser of varlink/go would swallow the next line; write text behind it or leave the line out`,
	}},
	{"comment behind code", around("# A.", "type Foo (a, b) # B."), []string{
		`bad.varlink:4: comment behind code: put it on lines of its own above what it documents`,
	}},
	{"undefined types", around("# A.", "type Foo (", "# B.", "a: ?[]Gone)", "# C.", "error Bar (", "# D.", "a: Lost)"), []string{
		`bad.varlink:6: type Foo: type Gone is not declared in this file`,
		`bad.varlink:10: error Bar: type Lost is not declared in this file`,
	}},
	{"an error as a type", around("# A.", "error Foo ()", "# B.", "type Bar (", "# C.", "a: Foo)"), []string{
		`bad.varlink:8: type Bar: type Foo is not declared in this file`,
	}},
	{"two types of one name", around("# A.", "type Foo (a, b)", "# B.", "type Foo (a, b)"), []string{
		`bad.varlink:6: Foo is declared already, on line 4`,
	}},
	{"a method and an error of one name", around("# A.", "error Do ()"), []string{`bad.varlink:6: Do is declared already, on line 4`}},
	{"two fields of one name", around("# A.", "type Foo (", "# B.", "a: int,", "# C.", "a: int)"), []string{
		`bad.varlink:8: type Foo: a stands there twice, first on line 6`,
	}},
	{"two members of one name", around("# A.", "type Foo (a, b, a)"), []string{
		`bad.varlink:4: type Foo: a stands there twice, first on line 4`,
	}},
	{"two fields of one Go name", around("# A.", "type Foo (", "# B.", "userId: int,", "# C.", "userID: int)"), []string{
		`bad.varlink:8: type Foo: userID and userId (line 6) are both UserID in Go`,
	}},
	{"two parameters of one Go name", around("# A.", "method Foo(", "# B.", "url: int,", "# C.", "uRL: int) -> ()"), []string{
		`bad.varlink:8: method Foo: uRL and url (line 6) are both URL in Go`,
	}},
	{"a type named as a method's input", around("# A.", "type DoIn (x)"), []string{
		`bad.varlink:6: method Do: its Go name DoIn is taken by type DoIn`,
	}},
	{"a type named as an error's", around("# A.", "type LostError (x)", "# B.", "error Lost ()"), []string{
		`bad.varlink:6: error Lost: its Go name LostError is taken by type LostError`,
	}},
	{"a type named as a constant", around("# A.", "type Foo (bar)", "# B.", "type FooBar (x)"), []string{
		`bad.varlink:4: member bar of type Foo: its Go name FooBar is taken by type FooBar`,
	}},
	{"a type named as what every package has", around("# A.", "type Client (x)"), []string{
		`bad.varlink:4: type Client: its Go name Client is taken by the one of every package`,
	}},
	{"a method named as a stream", around("# A.", "# [Supports 'more' flag]", "method Foo() -> ()", "# B.", "method FooStream() -> ()"), []string{
		`bad.varlink:7: method FooStream: the client's method FooStream is that of method Foo`,
	}},
	{"an error with a field error", around("# A.", "error Foo (", "# B.", "error: string)"), []string{
		`bad.varlink:6: error Foo: a field error clashes with the Go method Error`,
	}},
	{"an error without types", around("# A.", "error Foo (a, b)"), []string{`bad.varlink:4: error Foo: fields need types`}},
	{"a method without types", around("# A.", "method Foo(a) -> (b)"), []string{
		`bad.varlink:4: method Foo: fields need types`, `bad.varlink:4: method Foo: fields need types`,
	}},
	{"array of arrays", around("# A.", "type Foo (", "# B.", "a: [][]int)"), []string{
		`bad.varlink:6: type Foo: [][]int is a container of a container, which varlinkctl refuses: declare a type for the inner one`,
	}},
	{"map of arrays", around("# A.", "method Foo() -> (", "# B.", "a: ?[string][]int)"), []string{
		`bad.varlink:6: method Foo: [string][]int is a container of a container, which varlinkctl refuses: declare a type for the inner one`,
	}},
	{"array of nullables", around("# A.", "error Foo (", "# B.", "a: []?int)"), []string{
		`bad.varlink:6: error Foo: []?int is a container of what may be null, which varlinkctl refuses: take the inner ? out`,
	}},
	{"type without fields", around("# A.", "type Foo ()"), []string{`bad.varlink:4: type Foo has no fields, which varlinkctl refuses`}},
	{"anonymous struct", around("# A.", "type Foo (", "# B.", "a: ?[](", "# C.", "b: int))"), []string{
		`bad.varlink:6: type Foo: field a has an anonymous type: declare it with a name`,
	}},
	{"anonymous enum in a method", around("# A.", "method Foo(", "# B.", "a: (b, c)) -> ()"), []string{
		`bad.varlink:6: method Foo: field a has an anonymous type: declare it with a name`,
	}},
	{"no comments", "interface com.example.bad\ntype A (a: int)\ntype B (b)\nmethod C(a: int) -> (b: int)\nerror D (c: int)\n", []string{
		`bad.varlink:1: interface com.example.bad has no comment above it`,
		`bad.varlink:2: type A has no comment above it`,
		`bad.varlink:2: type A: field a has no comment above it`,
		`bad.varlink:3: type B has no comment above it`,
		`bad.varlink:4: method C has no comment above it`,
		`bad.varlink:4: method C: field a has no comment above it`,
		`bad.varlink:4: method C: field b has no comment above it`,
		`bad.varlink:5: error D has no comment above it`,
		`bad.varlink:5: error D: field c has no comment above it`,
	}},
	{"a comment and a blank line", around("# A.", "", "type Foo (a, b)"), []string{`bad.varlink:5: type Foo has no comment above it`}},
	{"only a machine-read comment", around("# [Read only]", "method Foo() -> ()"), []string{
		`bad.varlink:4: method Foo has no comment above it`,
	}},
	{"unknown machine-read line", around("# A.", "# [Supports 'More' flag]", "method Foo() -> ()"), []string{
		`bad.varlink:5: method Foo: unknown machine-read line "[Supports 'More' flag]": ` +
			`known are [Supports 'more' flag], [Requires 'more' flag] and [Read only]`,
	}},
	{"both more lines", around("# A.", "# [Supports 'more' flag]", "# [Requires 'more' flag]", "method Foo() -> ()"), []string{
		`bad.varlink:6: method Foo: more than one line about its 'more' flag`,
	}},
	{"machine-read line of a type", around("# A.", "# [Read only]", "type Foo (", "# B.", "# [Read only]", "a: int)"), []string{
		`bad.varlink:5: Foo: machine-read line "[Read only]": only methods have such lines`,
		`bad.varlink:8: a: machine-read line "[Read only]": only methods have such lines`,
	}},
	{"a type that holds itself", around("# A.", "type Foo (", "# B.", "a: Foo)"), []string{
		`bad.varlink:4: type Foo holds itself: put a ? or [] before the field that leads back`,
	}},
	{"types that hold each other", around("# A.", "type Foo (", "# B.", "a: Bar)", "# C.", "type Bar (", "# D.", "a: Foo)"), []string{
		`bad.varlink:4: type Foo holds itself: put a ? or [] before the field that leads back`,
		`bad.varlink:8: type Bar holds itself: put a ? or [] before the field that leads back`,
	}},
	{"field with an underscore", around("# A.", "type Foo (", "# B.", "user_id: int)"), []string{
		`bad.varlink:6: type Foo: field user_id is not in camelCase`,
	}},
	{"enum member in camelCase", around("# A.", "type Foo (pullFailed)"), []string{
		`bad.varlink:4: type Foo: member pullFailed is not in lower case with underscores`,
	}},
	{"an error's fields on the next line", around("# A.", "error Foo", "()"), []string{
		`bad.varlink:2: the parser of varlink/go refuses the file: unknown keyword ''`,
	}},
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, code, err := Generate("bad.varlink", test.source, options{})
			if err == nil {
				t.Fatalf("accepted:\n%s", code)
			}
			if diff := cmp.Diff(strings.Join(test.want, "\n"), err.Error()); diff != "" {
				t.Errorf("what is said differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptionsThatDoNotFitTheFile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		opts options
		want string
	}{
		{
			"file in package idl under another name",
			options{idlImport: "example.com/idl"},
			"bad.varlink:2: the file of interface com.example.bad must be com.example.bad.varlink to be found in package idl",
		},
		{"more of an unknown method", options{more: []string{"Gone"}}, "bad.varlink:2: -more Gone: there is no such method"},
		{"package name", options{packageName: "go-lang"}, `bad.varlink:2: "go-lang" cannot be the name of a Go package: choose one with -package`},
		{"keyword as package name", options{packageName: "type"}, `bad.varlink:2: "type" cannot be the name of a Go package: choose one with -package`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := Generate("bad.varlink", around(), test.opts)
			if err == nil || err.Error() != test.want {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
}

// TestLenientStillRefuses shows that a foreign file is spared the rules of the house only.
func TestLenientStillRefuses(t *testing.T) {
	t.Parallel()
	source := "interface com.example.bad\nmethod Foo() -> ()\n#\nmethod Bar(a: Gone) -> ()\n"
	_, _, err := Generate("bad.varlink", source, options{lenient: true})
	if want := "bad.varlink:4: method Bar: type Gone is not declared in this file"; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	source = strings.ReplaceAll(source, "Gone", "int")
	_, _, err = Generate("bad.varlink", source, options{lenient: true})
	if want := `bad.varlink:4: Bar: the parser of varlink/go reads "" instead of "(a:int)->()"`; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}
