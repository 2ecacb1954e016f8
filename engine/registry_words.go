package engine

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/docker/distribution/registry/api/errcode"

	"github.com/imaged-project/imaged/engine/errdefs"
)

// maxWords is how much of a foreign text an error carries, in bytes.
const maxWords = 1000

// clean makes a foreign text fit for people and logs: without credentials in URLs, with control characters and those
// that turn the direction of writing escaped, and not too long.
func clean(text string) string {
	text = errdefs.Redact(text)
	var b strings.Builder
	for _, r := range text {
		if b.Len() >= maxWords {
			b.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError:
			b.WriteRune(unicode.ReplacementChar)
		case r == ' ' || unicode.IsGraphic(r) && !unicode.Is(unicode.Zl, r) && !unicode.Is(unicode.Zp, r):
			b.WriteRune(r)
		default: // controls, line ends, and format characters such as bidi overrides
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// words returns what a registry or the system said, without the library's wrapping as far as the types allow, clean.
func words(err error) string {
	if e, ok := errors.AsType[errcode.Error](err); ok {
		return clean(errcodeWords(e))
	}
	if code, ok := errors.AsType[errcode.ErrorCode](err); ok {
		return clean(code.Message())
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return clean(e.Err.Error())
	}
	return clean(err.Error())
}

func errcodeWords(e errcode.Error) string {
	text := e.Message
	if text == "" {
		text = e.Code.Message()
	}
	if detail, ok := e.Detail.(string); ok && detail != "" {
		text = fmt.Sprintf("%s (%s)", text, detail)
	}
	return text
}

// quiet is an error whose own text is clean: a library's may have credentials or control characters in it. What it
// wraps is for errors.Is and errors.As only.
type quiet struct{ err error }

func (q quiet) Error() string { return clean(q.err.Error()) }
func (q quiet) Unwrap() error { return q.err }
