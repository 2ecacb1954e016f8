package varlink

import (
	"fmt"
	"testing"
)

func TestEqualValuesAreEqualTexts(t *testing.T) {
	t.Parallel()
	value := struct {
		Labels map[string]string `json:"labels"`
	}{map[string]string{}}
	for i := range 20 {
		value.Labels[fmt.Sprint(i)] = ""
	}
	text := func() string {
		m := newMessage()
		defer m.put()
		if err := m.reply("", value, false); err != nil {
			t.Fatal(err)
		}
		return m.String()
	}
	first := text()
	for range 10 {
		if again := text(); again != first {
			t.Fatalf("%s\n%s", first, again)
		}
	}
}
