package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
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

// size tells a number of bytes to people.
func size(bytes int64) string { return humanize.Bytes(uint64(max(bytes, 0))) }

// size3 tells a number of bytes as podman does, with three digits.
func size3(bytes int64) string {
	value, unit := float64(max(bytes, 0)), 0
	for units := len(decimalUnits); value >= 999.5 && unit < units-1; unit++ {
		value /= 1000
	}
	return strconv.FormatFloat(value, 'g', 3, 64) + " " + decimalUnits[unit]
}

var decimalUnits = []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}

// utc tells a time of the interface (RFC 3339) as podman does.
func utc(text string) string {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return text
	}
	return at.UTC().Truncate(time.Second).String()
}

// since tells a time of the interface (RFC 3339) as how long ago it was.
func (a *app) since(text string) string {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return text
	}
	age := a.streams.Now().Sub(at)
	if age < 0 {
		return humanize.RelTime(at, a.streams.Now(), "ago", "from now")
	}
	return ageText(age) + " ago"
}

// ageText tells how long something took, in podman's words.
func ageText(age time.Duration) string {
	hours := int(age.Round(time.Hour) / time.Hour)
	switch {
	case age < time.Second:
		return "Less than a second"
	case age < 2*time.Second:
		return "1 second"
	case age < time.Minute:
		return fmt.Sprintf("%d seconds", age/time.Second)
	case age < 2*time.Minute:
		return "About a minute"
	case age < time.Hour:
		return fmt.Sprintf("%d minutes", age/time.Minute)
	case hours == 1:
		return "About an hour"
	case hours < 48:
		return fmt.Sprintf("%d hours", hours)
	case hours < 2*7*24:
		return fmt.Sprintf("%d days", hours/24)
	case hours < 2*30*24:
		return fmt.Sprintf("%d weeks", hours/24/7)
	case hours < 2*365*24:
		return fmt.Sprintf("%d months", hours/24/30)
	}
	return fmt.Sprintf("%d years", hours/24/365)
}

// short cuts an id to what people are shown.
func short(id string, full bool) string {
	if full || len(id) <= shortLength {
		return id
	}
	return id[:shortLength]
}
