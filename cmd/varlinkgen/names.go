package main

import (
	"strings"
	"unicode"
)

// initialisms are the words that Go writes in capitals, and how.
var initialisms = map[string]string{
	"api": "API", "cpu": "CPU", "gid": "GID", "http": "HTTP", "https": "HTTPS", "id": "ID", "ids": "IDs", "io": "IO",
	"ip": "IP", "ips": "IPs", "json": "JSON", "os": "OS", "pid": "PID", "tls": "TLS", "uid": "UID", "uri": "URI",
	"url": "URL", "urls": "URLs",
}

// goName makes an exported Go name of a name of the interface file: tlsVerify is TLSVerify, client_id is ClientID.
func goName(name string) string {
	var b strings.Builder
	for _, word := range words(name) {
		if capitals, ok := initialisms[strings.ToLower(word)]; ok {
			b.WriteString(capitals)
			continue
		}
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// errorName is the Go name of an error's type: ImageNotFound is ImageNotFoundError.
func errorName(name string) string {
	return strings.TrimSuffix(goName(name), "Error") + "Error"
}

// words cuts a name at underscores and where a new word begins with a capital letter.
func words(name string) []string {
	var list []string
	start := 0
	cut := func(end int) {
		if end > start {
			list = append(list, name[start:end])
		}
	}
	for i := 0; i < len(name); i++ {
		switch {
		case name[i] == '_':
			cut(i)
			start = i + 1
		case i > 0 && beginsWord(name, i):
			cut(i)
			start = i
		}
	}
	cut(len(name))
	return list
}

// beginsWord tells whether the letter at i > 0 begins a word: DiffIDs, OSName and layersDone each have one inside.
func beginsWord(name string, i int) bool {
	upper := func(i int) bool { return unicode.IsUpper(rune(name[i])) }
	if !upper(i) {
		return false
	}
	lowerNext := i+1 < len(name) && unicode.IsLower(rune(name[i+1]))
	return !upper(i-1) || lowerNext
}
