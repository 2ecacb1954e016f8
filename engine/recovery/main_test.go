package recovery

import (
	"testing"

	"github.com/imaged-project/imaged/engine/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }
