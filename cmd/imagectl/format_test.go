package main

import (
	"strings"
	"testing"
)

// A template's author may end lines and columns, what it prints may not.
func TestFormatEscapesValuesAlone(t *testing.T) {
	t.Parallel()
	type row struct {
		Text   string
		List   []string
		Labels map[string]string
		Inner  *row
		None   any
		Name   *string
		Nobody *string
	}
	data := row{Text: "a\nb\tc\x1b", List: []string{"x\n", "y"}, Labels: map[string]string{"k\n": "v\u202e"}, Inner: &row{Text: "\r"}, Name: new("\r")}
	for text, want := range map[string]string{
		`{{.Text}}`:                                                      `a\nb\tc\x1b` + "\n",
		`{{.Text}}\t{{.Text}}\n`:                                         `a\nb\tc\x1b` + "\t" + `a\nb\tc\x1b` + "\n",
		`{{join .List "\n"}}`:                                            `x\n` + "\n" + "y\n",
		`{{range .List}}{{println .}}{{end}}`:                            `x\n` + "\ny\n\n",
		`{{range $k, $v := .Labels}}{{$k}}={{$v}}{{end}}`:                `k\n=v\u202e` + "\n",
		`{{if .None}}{{else}}{{printf "%s\t%d" .Text 7}}{{end}}`:         `a\nb\tc\x1b` + "\t7\n",
		`{{$x := "\n"}}{{with .Inner}}{{.Text}}{{$x}}{{end}}`:            `\r` + "\n\n",
		`{{json .Text}}`:                                                 `"a\nb\tc\u001b"` + "\n",
		`{{.Name}}|{{.Inner.Name}}|{{.Inner.Inner}}`:                     `\r||` + "\n",
		`{{with .Inner}}{{.}}{{end}}{{.List}}`:                           `{\r [] map[]  <nil>  }[x\n y]` + "\n",
		`{{.None}}{{.Inner.Text}}`:                                       `<no value>\r` + "\n",
		`{{define "x"}}{{.}}{{end}}{{template "x" .Text}}`:               `a\nb\tc\x1b` + "\n",
		`table {{.Inner.Text}}\t{{.Text}}`:                               "TEXT  TEXT\n" + `\r    a\nb\tc\x1b` + "\n",
		`{{if eq .Inner.Text "\r"}}{{len .Text | printf "%03d"}}{{end}}`: "006\n",
	} {
		f, err := parseFormat(text, nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var out strings.Builder
		if err := f.print(&out, false, data); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v, want %q", text, out.String(), err, want)
		}
	}
}

func TestHeads(t *testing.T) {
	t.Parallel()
	titles := map[string]string{"ID": "IMAGE ID"}
	for text, want := range map[string]string{
		"table {{.ID}}":                               "IMAGE ID",
		"table {{.Repository}} {{.Tag}}":              "REPOSITORY\tTAG",
		`table {{.Repository}}\t{{.CreatedSince}}`:    "REPOSITORY\tCREATED SINCE",
		"table {{.ID | upper}} {{ .Image.ParentID }}": "IMAGE ID\tPARENT ID",
		`table {{join .Names ", "}}`:                  "NAMES",
		`table {{.ID}}:{{.Tag}} x`:                    "IMAGE ID:TAG\tx",
		"{{.ID}}":                                     "",
	} {
		f, err := parseFormat(text, titles)
		if err != nil || f.heads != want {
			t.Errorf("%s: heads %q, want %q, %v", text, f.heads, want, err)
		}
	}
}
