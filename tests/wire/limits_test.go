package wire_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/tests/daemon"
)

// TestEveryLimitCanBeSet sets all limits that a daemon lists, each to less than it was.
func TestEveryLimitCanBeSet(t *testing.T) {
	t.Parallel()
	limits := func(args ...string) map[string]int64 {
		var out struct {
			Limits []struct {
				Name  string
				Value int64
			}
		}
		reply := daemon.Start(t, daemon.Options{Args: args}).Call(t, "io.imaged.info.GetLimits", "")
		reply.Into(t, &out)
		all := map[string]int64{}
		for _, l := range out.Limits {
			all[l.Name] = l.Value
		}
		return all
	}
	want := limits()
	var args []string
	for name := range want {
		want[name]--
		args = append(args, "--limit", fmt.Sprintf("%s=%d", name, want[name]))
	}
	if diff := cmp.Diff(want, limits(args...)); diff != "" || len(want) < 20 {
		t.Errorf("%d limits (-set +listed):\n%s", len(want), diff)
	}
}
