package varlink

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// Most messages are written the way that message writes them. Their parts are where they are expected, and what is left to
// check is one JSON object, which takes a fraction of the time that reading token by token does.

// plainCall reads a call that is {"method":"…","parameters":{…}}, with at most one flag behind that.
func plainCall(message []byte) (e envelope, ok bool) {
	rest, ok := bytes.CutPrefix(message, []byte(`{"method":"`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end <= 0 || !isPlain(rest[:end]) {
		return e, false
	}
	e.method = string(rest[:end])
	if rest, ok = bytes.CutPrefix(rest[end:], []byte(`","parameters":`)); !ok {
		return e, false
	}
	switch {
	case cutSuffix(&rest, `,"more":true}`):
		e.more = true
	case cutSuffix(&rest, `,"oneway":true}`):
		e.oneway = true
	case cutSuffix(&rest, `,"upgrade":true}`):
		e.upgrade = true
	case !cutSuffix(&rest, `}`):
		return e, false
	}
	e.parameters = rest
	return e, isObject(rest)
}

// plainReply reads a reply that is {"parameters":{…}}, or has continues behind that.
func plainReply(message []byte) (r replyEnvelope, ok bool) {
	rest, ok := bytes.CutPrefix(message, []byte(`{"parameters":`))
	if !ok {
		return r, false
	}
	if r.continues = cutSuffix(&rest, `,"continues":true}`); !r.continues && !cutSuffix(&rest, `}`) {
		return r, false
	}
	r.parameters = rest
	return r, isObject(rest)
}

// isPlain says whether a JSON string may be taken as it is.
func isPlain(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

// isObject says whether text is one JSON object and nothing else, members of the message around it above all.
func isObject(text []byte) bool {
	return len(text) >= 2 && text[0] == '{' && text[len(text)-1] == '}' && jsontext.Value(text).IsValid()
}

func cutSuffix(text *[]byte, suffix string) (found bool) {
	*text, found = bytes.CutSuffix(*text, []byte(suffix))
	return found
}
