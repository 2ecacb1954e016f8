// Package wire tests the built daemon over raw sockets: what every method says to good and bad calls, who may call what,
// and what hostile clients and registries can do to others.
package wire_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/imaged-project/imaged/tests/daemon"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := daemon.Clean(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}
