package main

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"text/tabwriter"
	"text/template"
	"text/template/parse"
	"unicode"
	"unicode/utf8"
)

// templateFuncs are what podman offers in --format, as far as it makes sense here.
var templateFuncs = template.FuncMap{
	"escape": escapeValue,
	"println": func(values ...any) string {
		return strings.TrimSuffix(fmt.Sprintln(values...), "\n") + newline
	},
	"json": func(v any) (string, error) {
		var b bytes.Buffer
		err := writeJSON(&b, v, false)
		return strings.TrimSuffix(b.String(), "\n"), err
	},
	"join":  strings.Join,
	"split": strings.Split,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"title": func(text string) string {
		first, size := utf8.DecodeRuneInString(text)
		return string(unicode.ToTitle(first)) + text[size:]
	},
	"pad": func(text string, before, after int) string {
		return strings.Repeat(" ", before) + text + strings.Repeat(" ", after)
	},
	"truncate": func(text string, length int) string {
		if runes := []rune(text); len(runes) > length {
			return string(runes[:max(length, 0)])
		}
		return text
	},
}

// format is a --format value: a Go template for each row, or as a table if it starts with "table ".
type format struct {
	template *template.Template
	heads    string // the heads' line, with tabs between columns; empty: no table
	newline  bool   // one follows each row
}

// podmanEscapes are those that podman knows in a template's text.
var podmanEscapes = strings.NewReplacer(`\t`, "\t", `\n`, "\n")

// newline and tab stand for those of a template's author until what its actions print has been escaped: a text of an image
// must not end a line or a column, and no image knows these.
var newline, tab = "newline" + rand.Text(), "tab" + rand.Text()

// parseFormat reads a --format value. Its escapes \t and \n are those of podman, and so is that a space parts the columns of
// a table. Titles are the heads of fields that are not called as the field is; nil: none.
func parseFormat(text string, titles map[string]string) (*format, error) {
	body, isTable := strings.CutPrefix(text, "table ")
	if isTable {
		body = actionOrSpace.ReplaceAllStringFunc(body, func(part string) string {
			if part == " " {
				return "\t"
			}
			return part
		})
	}
	parsed, err := template.New("format").Option("missingkey=error").Funcs(templateFuncs).Parse(body)
	if err != nil {
		return nil, &failure{
			code: exitUsage, what: "--format " + text, why: err.Error(),
			next: "write a Go template, as {{.ID}}, or json", err: err,
		}
	}
	for _, t := range parsed.Templates() {
		escapeActions(t.Root)
	}
	body = podmanEscapes.Replace(body)
	f := &format{template: parsed, newline: !strings.HasSuffix(body, "\n")}
	if isTable {
		f.heads = heads(body, titles)
	}
	return f, nil
}

// actionOrSpace matches the actions of a template, and spaces outside them; fieldName the fields that an action names.
var (
	actionOrSpace = regexp.MustCompile(`\{\{.*?\}\}| `)
	fieldName     = regexp.MustCompile(`\.([A-Za-z]\w*)`)
)

// heads turns a table's template into its heads: {{.CreatedSince}} is CREATED SINCE.
func heads(body string, titles map[string]string) string {
	return actionOrSpace.ReplaceAllStringFunc(body, func(part string) string {
		names := fieldName.FindAllStringSubmatch(part, -1)
		if len(names) == 0 {
			return ""
		}
		name := names[len(names)-1][1]
		return cmp.Or(titles[name], headOf(name))
	})
}

// headOf parts a field's name into words, in capitals.
func headOf(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' && name[i-1] >= 'a' {
			b.WriteByte(' ')
		}
		b.WriteString(strings.ToUpper(string(r)))
	}
	return b.String()
}

// escapeActions has all that a template's actions print escaped, but for the newlines and tabs in their own constants.
func escapeActions(node parse.Node) {
	switch n := node.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, inner := range n.Nodes {
				escapeActions(inner)
			}
		}
	case *parse.TextNode:
		n.Text = []byte(podmanEscapes.Replace(string(n.Text)))
	case *parse.ActionNode:
		protectConstants(n.Pipe)
		if len(n.Pipe.Decl) == 0 {
			call := &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier("escape")}}
			n.Pipe.Cmds = append(n.Pipe.Cmds, call)
		}
	case *parse.IfNode:
		escapeActions(n.List)
		escapeActions(n.ElseList)
	case *parse.RangeNode:
		escapeActions(n.List)
		escapeActions(n.ElseList)
	case *parse.WithNode:
		escapeActions(n.List)
		escapeActions(n.ElseList)
	}
}

func protectConstants(pipe *parse.PipeNode) {
	for _, command := range pipe.Cmds {
		for _, arg := range command.Args {
			switch n := arg.(type) {
			case *parse.StringNode:
				n.Text = strings.NewReplacer("\n", newline, "\t", tab).Replace(n.Text)
			case *parse.PipeNode:
				protectConstants(n)
			}
		}
	}
}

// escapeValue is what a template prints for a value, escaped.
func escapeValue(value any) string {
	if value == nil {
		return "<no value>"
	}
	return escape(valueText(reflect.ValueOf(value)))
}

// valueText is what fmt prints of a value, but with what pointers point to in place of their addresses, and with nothing
// for those that point to nothing: these are what an image does not have.
func valueText(v reflect.Value) string {
	if v.CanInterface() {
		switch value := v.Interface().(type) {
		case error, fmt.Stringer:
			return fmt.Sprint(value)
		}
	}
	var parts []string
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return ""
		}
		return valueText(v.Elem())
	case reflect.Struct:
		for _, field := range v.Fields() {
			parts = append(parts, valueText(field))
		}
		return "{" + strings.Join(parts, " ") + "}"
	case reflect.Slice:
		for i := range v.Len() {
			parts = append(parts, valueText(v.Index(i)))
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	return fmt.Sprint(v)
}

// print runs the template once a row.
func (f *format) print(w io.Writer, noHeading bool, rows ...any) error {
	var out bytes.Buffer
	if f.heads != "" && !noHeading {
		out.WriteString(f.heads + "\n")
	}
	for _, row := range rows {
		if err := f.template.Execute(&out, row); err != nil {
			return &failure{
				code: exitUsage, what: "--format", why: err.Error(),
				next: "the fields are those that --json prints, in Go's spelling", err: err,
			}
		}
		if f.newline {
			out.WriteByte('\n')
		}
	}
	text := strings.NewReplacer(newline, "\n", tab, "\t").Replace(out.String())
	if f.heads == "" {
		_, err := io.WriteString(w, text)
		return err
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(columns, text); err != nil {
		return err
	}
	return columns.Flush()
}
