package errdefs

import (
	"regexp"
	"strings"
)

var (
	// login is what stands before the @ in a URL, and a user with a password where people put them in front of a reference.
	// A slash in a password is a mistake, but no reason to show the rest; one behind a port is a path's.
	login = regexp.MustCompile(`(?:://[^\s/"'<>]*|(?:://)?[^\s/@"'<>:=,;()]+:(?:[^\s/"'<>]+|[0-9]*[^\s/"'<>0-9][^\s"'<>]*))@[^\s/"'<>]*`)
	// digested is what stands behind the @ in a reference with a digest.
	digested = regexp.MustCompile(`@(?:[a-z0-9+._-]+:[0-9a-fA-F]{32,}|sha[0-9]+:[^@]*)$`)
	// header is what an Authorization header says, in the words of a server that repeats it.
	header = regexp.MustCompile(`(?i)\b(basic|bearer) +([a-z0-9+/._~-]{6,}=*)`)
	// secretQuery is the value of a query parameter that may be a secret, such as a signed URL's.
	secretQuery = regexp.MustCompile(`(?i)([?&][^=&\s"']*(?:token|sig|signature|credential|password|secret|key|auth)[^=&\s"']*=)[^&\s"']+`)
)

// Redact takes out of a text what may be a credential in it: users and passwords in URLs and in front of hosts,
// secrets in a URL's query, and what follows Basic or Bearer.
func Redact(text string) string {
	for {
		text = header.ReplaceAllStringFunc(text, withoutToken)
		redacted := secretQuery.ReplaceAllString(login.ReplaceAllStringFunc(text, withoutLogin), "$1…")
		if redacted == text {
			return text
		}
		text = redacted // what is left may look like a credential only now
	}
}

// withoutLogin is a match of login without what is to be hidden.
func withoutLogin(found string) string {
	if digest := digested.FindStringIndex(strings.TrimRight(found, ".,;:)")); digest != nil {
		return Redact(found[:digest[0]]) + found[digest[0]:]
	}
	scheme := ""
	if strings.HasPrefix(found, "://") {
		scheme = "://"
	}
	return scheme + found[strings.LastIndexByte(found, '@')+1:]
}

// withoutToken is a match of header without what is to be hidden. Words, as in "basic authentication", are not.
func withoutToken(found string) string {
	kind, token, _ := strings.Cut(found, " ")
	token = strings.TrimLeft(token, " ")
	if strings.Trim(token[1:], "abcdefghijklmnopqrstuvwxyz.-") == "" {
		return found
	}
	return kind + " …"
}
