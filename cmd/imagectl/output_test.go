package main

import (
	"testing"
	"time"
)

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

func TestAgesAsPodmanTellsThem(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for age, want := range map[time.Duration]string{
		0: "Less than a second", time.Second: "1 second", 59 * time.Second: "59 seconds", 90 * time.Second: "About a minute",
		59 * time.Minute: "59 minutes", 80 * time.Minute: "About an hour", 47 * time.Hour: "47 hours", 2 * day: "2 days",
		13 * day: "13 days", 14 * day: "2 weeks", 60 * day: "2 months", 729 * day: "24 months", 730 * day: "2 years",
	} {
		if got := ageText(age); got != want {
			t.Errorf("ageText(%v) = %q, want %q", age, got, want)
		}
	}
}
