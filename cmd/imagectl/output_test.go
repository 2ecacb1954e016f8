package main

import "testing"

func TestSizesAsPodmanTellsThem(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64]string{
		-1: "0 B", 0: "0 B", 999: "999 B", 1000: "1 kB", 1121: "1.12 kB", 203_489: "203 kB", 510_256: "510 kB",
		999_499: "999 kB", 999_500: "1 MB", 3_610_000: "3.61 MB", 1 << 62: "4.61 EB",
	} {
		if got := size3(bytes); got != want {
			t.Errorf("size3(%d) = %q, want %q", bytes, got, want)
		}
	}
}
