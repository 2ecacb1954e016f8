package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/dustin/go-humanize"
)

// shortLength is how many digits of an id people are shown.
const shortLength = 12

// writeJSON prints a value as one JSON document and a newline, on one line or indented for people.
func writeJSON(w io.Writer, value any, indent bool) error {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if indent {
		encoder.SetIndent("", "  ")
	}
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	_, err := w.Write(escapeJSON(buffer.Bytes()))
	return err
}

// printJSON prints a result as JSON: indented on a terminal, else on one line.
func (a *app) printJSON(value any) error {
	return writeJSON(a.streams.Out, value, a.streams.OutTerminal != nil)
}

// println prints one line of a result; the text is escaped.
func (a *app) println(text string) error {
	_, err := fmt.Fprintln(a.streams.Out, escape(text))
	return err
}

// printLines prints a result of several lines.
func (a *app) printLines(lines []string) error {
	for _, line := range lines {
		if err := a.println(line); err != nil {
			return err
		}
	}
	return nil
}

// table prints rows in columns, the first being the heads.
type table struct {
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) error {
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		safe := make([]string, len(row))
		for i, cell := range row {
			safe[i] = escape(cell)
		}
		// tabwriter counts a trailing cell without a tab as no column, so that its width bounds nobody.
		if _, err := fmt.Fprintln(columns, strings.Join(safe, "\t")); err != nil {
			return err
		}
	}
	return columns.Flush()
}

// templateFuncs are what podman offers in --format, as far as it makes sense here.
var templateFuncs = template.FuncMap{
	"json": func(v any) (string, error) {
		var b bytes.Buffer
		err := writeJSON(&b, v, false)
		return strings.TrimSuffix(b.String(), "\n"), err
	},
	"join":  strings.Join,
	"split": strings.Split,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
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
	newline  bool
}

// parseFormat reads a --format value. Its escapes \t and \n are those of podman.
func parseFormat(text string) (*format, error) {
	body, isTable := strings.CutPrefix(text, "table ")
	body = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(body)
	parsed, err := template.New("format").Option("missingkey=error").Funcs(templateFuncs).Parse(body)
	if err != nil {
		return nil, &failure{
			code: exitUsage, what: "--format " + text, why: err.Error(),
			next: "write a Go template, as {{.ID}}, or json", err: err,
		}
	}
	f := &format{template: parsed, newline: !strings.HasSuffix(body, "\n")}
	if isTable {
		f.heads = heads(body)
	}
	return f, nil
}

// heads turns the fields of a table's template into its heads: {{.CreatedSince}} is CREATED SINCE.
func heads(body string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(body, "{{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		action, after, _ := strings.Cut(rest, "}}")
		name := action[strings.LastIndexByte(action, '.')+1:]
		for i, r := range strings.TrimSpace(name) {
			if i > 0 && r >= 'A' && r <= 'Z' && name[i-1] >= 'a' {
				b.WriteByte(' ')
			}
			b.WriteString(strings.ToUpper(string(r)))
		}
		body = after
	}
}

// print runs the template once a row. What a template makes is a line for people: it is escaped, its own newlines and
// tabs aside.
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
	if f.heads == "" {
		_, err := io.WriteString(w, escapeCells(out.String()))
		return err
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(columns, escapeCells(out.String())); err != nil {
		return err
	}
	return columns.Flush()
}

// escapeCells is escape for a template's output, whose newlines and tabs are the template's.
func escapeCells(text string) string {
	var b strings.Builder
	for line := range strings.SplitAfterSeq(text, "\n") {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for i, cell := range cells {
			cells[i] = escape(cell)
		}
		b.WriteString(strings.Join(cells, "\t"))
		if strings.HasSuffix(line, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// size tells a number of bytes to people.
func size(bytes int64) string { return humanize.Bytes(uint64(max(bytes, 0))) }

// since tells a time of the interface (RFC 3339) as how long ago it was.
func (a *app) since(text string) string {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return text
	}
	return humanize.RelTime(at, a.streams.Now(), "ago", "from now")
}

// short cuts an id to what people are shown.
func short(id string, full bool) string {
	if full || len(id) <= shortLength {
		return id
	}
	return id[:shortLength]
}
