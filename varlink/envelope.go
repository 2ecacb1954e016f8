package varlink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// envelope is a call as it arrived; parameters is a part of the message.
type envelope struct {
	method                string
	parameters            []byte // {} when absent or null
	oneway, more, upgrade bool
}

var emptyObject = []byte("{}")

// decoder is a token reader over bytes in memory.
type decoder struct {
	source bytes.Buffer
	*jsontext.Decoder
}

var decoders = sync.Pool{New: func() any { return &decoder{Decoder: jsontext.NewDecoder(new(bytes.Buffer))} }}

// newDecoder reads data; put returns the decoder for others.
func newDecoder(data []byte) *decoder {
	d := decoders.Get().(*decoder)
	d.source = *bytes.NewBuffer(data)
	d.Reset(&d.source)
	return d
}

func (d *decoder) put() {
	d.source = bytes.Buffer{}
	d.Reset(&d.source)
	decoders.Put(d)
}

// parseCall reads a call. Every error means that the peer does not speak Varlink, and that its connection is closed.
func parseCall(message []byte) (envelope, error) {
	if e, ok := plainCall(message); ok {
		return e, nil
	}
	return parseAnyCall(message)
}

// parseAnyCall reads a call however it is written.
func parseAnyCall(message []byte) (envelope, error) {
	e := envelope{parameters: emptyObject}
	err := eachMember(message, func(name string, value []byte) (err error) {
		switch name {
		case "method":
			e.method, err = unquote(value)
		case "parameters":
			e.parameters, err = object(value)
		case "oneway":
			e.oneway, err = flag(value)
		case "more":
			e.more, err = flag(value)
		case "upgrade":
			e.upgrade, err = flag(value)
		default:
			err = foreign(name)
		}
		return err
	})
	switch {
	case err != nil:
		return e, err
	case e.method == "":
		return e, fmt.Errorf("%w: no method", errMalformed)
	case e.oneway && e.more || e.oneway && e.upgrade || e.more && e.upgrade:
		return e, fmt.Errorf("%w: more than one of oneway, more and upgrade", errMalformed)
	}
	return e, nil
}

// replyEnvelope is a reply as it arrived; parameters is a part of the message.
type replyEnvelope struct {
	parameters []byte // {} when absent or null
	continues  bool
	err        string
}

// parseReply reads a reply. Members that it does not know are ignored: the service may be newer.
func parseReply(message []byte) (replyEnvelope, error) {
	if r, ok := plainReply(message); ok {
		return r, nil
	}
	return parseAnyReply(message)
}

// parseAnyReply reads a reply however it is written.
func parseAnyReply(message []byte) (replyEnvelope, error) {
	r := replyEnvelope{parameters: emptyObject}
	err := eachMember(message, func(name string, value []byte) (err error) {
		switch name {
		case "parameters":
			r.parameters, err = object(value)
		case "continues":
			r.continues, err = flag(value)
		case "error":
			r.err, err = unquote(value)
		}
		return err
	})
	return r, err
}

// eachMember calls f for each member of the one JSON object that message is.
func eachMember(message []byte, f func(name string, value []byte) error) error {
	d := newDecoder(message)
	defer d.put()
	token, err := d.ReadToken()
	if err != nil || token.Kind() != jsontext.KindBeginObject {
		return fmt.Errorf("%w: not a JSON object", errMalformed)
	}
	for d.PeekKind() == jsontext.KindString {
		name, err := d.ReadValue()
		if err != nil {
			return badJSON(err)
		}
		member, err := memberName(name)
		if err != nil {
			return err
		}
		value, err := d.ReadValue()
		if err != nil {
			return badJSON(err)
		}
		end := d.InputOffset()
		if err := f(member, message[end-int64(len(value)):end]); err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return badJSON(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one JSON value", errMalformed)
	}
	return nil
}

// badJSON tells where the JSON is wrong. It leaves out the names that jsontext quotes, since the error may reach a log, and
// what a client sent must not.
func badJSON(err error) error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("%w: not JSON, at byte %d", errMalformed, syntax.ByteOffset)
	}
	return fmt.Errorf("%w: not JSON", errMalformed)
}

// memberName is unquote without an allocation for the names that messages have.
func memberName(quoted []byte) (string, error) {
	switch string(quoted) {
	case `"method"`:
		return "method", nil
	case `"parameters"`:
		return "parameters", nil
	case `"continues"`:
		return "continues", nil
	case `"more"`:
		return "more", nil
	}
	return unquote(quoted)
}

func unquote(value []byte) (string, error) {
	if len(value) == 0 || value[0] != '"' {
		return "", fmt.Errorf("%w: not a string", errMalformed)
	}
	s, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return "", badJSON(err)
	}
	return string(s), nil
}

func object(value []byte) ([]byte, error) {
	switch value[0] {
	case '{':
		return value, nil
	case 'n':
		return emptyObject, nil
	}
	return nil, fmt.Errorf("%w: parameters are not an object", errMalformed)
}

func flag(value []byte) (bool, error) {
	switch value[0] {
	case 't':
		return true, nil
	case 'f':
		return false, nil
	}
	return false, fmt.Errorf("%w: flag is not a boolean", errMalformed)
}

// foreign accepts a member of another's making, which has a dot in its name.
func foreign(name string) error {
	for i := range len(name) {
		if name[i] == '.' {
			return nil
		}
	}
	return fmt.Errorf("%w: unknown member", errMalformed)
}
