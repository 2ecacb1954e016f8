package service

import (
	"bytes"
	lenient "encoding/json"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// stamp writes a time as the interfaces have it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// value is what p points to, or the zero value, which is every parameter's default unless its comment says otherwise.
func value[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// optional is the pointer of a nullable field: null for the zero value.
func optional[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// recode copies a value of one interface's type into the same type of another interface: Varlink has no imports, so each
// interface repeats the types it shares.
func recode[T any](v any) T {
	var out T
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		panic(err) // the types differ: a mistake in an interface file, which the tests find
	}
	return out
}

// strict is a JSON value of an image as a message may hold it: of members with one name the last remains, as containers'
// programs read it, and what is no UTF-8 becomes U+FFFD.
func strict(text []byte) jsontext.Value {
	if jsontext.Value(text).IsValid() {
		return text
	}
	var v any
	d := lenient.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out bytes.Buffer
	e := lenient.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if d.Decode(&v) != nil || e.Encode(v) != nil {
		return text // the reply will fail and say why
	}
	return out.Bytes()
}
