package errdefs

import (
	"strconv"
	"strings"
	"sync"
)

// held are the secrets of running calls, and how many calls hold each.
var held = struct {
	sync.Mutex
	calls map[string]int
}{calls: map[string]int{}}

// Hold has RedactLine hide secrets until release is called.
func Hold(secrets []string) (release func()) {
	count := func(by int) {
		held.Lock()
		defer held.Unlock()
		for _, s := range secrets {
			if held.calls[s] += by; held.calls[s] == 0 {
				delete(held.calls, s)
			}
		}
	}
	count(1)
	return func() { count(-1) }
}

// RedactLine is Redact for a line of the log: the secrets that are held are hidden, too. This is not for errors: whoever
// gets them could find out what others' secrets are.
func RedactLine(line string) string {
	held.Lock()
	defer held.Unlock()
	for s := range held.calls {
		quoted := strconv.Quote(s)
		line = strings.ReplaceAll(strings.ReplaceAll(line, s, "…"), quoted[1:len(quoted)-1], "…")
	}
	return Redact(line)
}
