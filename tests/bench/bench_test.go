package bench

import (
	"runtime"
	"testing"

	"github.com/imaged-project/imaged/engine/enginetest"
)

// TestMain is one of the servers to compare with if this process was started as one.
func TestMain(m *testing.M) {
	if serveAsChild() {
		return
	}
	// The registry and the clients share this process: the kernel, not Go, is to divide the processor between them.
	runtime.GOMAXPROCS(8 * runtime.NumCPU())
	enginetest.Main(m)
}

// TestBench prints the table. Its parts, and theirs, are the rows to choose from with -run.
func TestBench(t *testing.T) {
	t.Cleanup(closeBig)
	printHead()
	t.Run("rpc", func(t *testing.T) {
		t.Run("call", benchCall)
		t.Run("stream", benchStream)
	})
	t.Run("list", benchList)
	t.Run("images", benchImages)
	t.Run("life", func(t *testing.T) {
		t.Run("cold", benchCold)
		t.Run("memory", benchMemory)
		t.Run("hangup", benchHangup)
	})
}
