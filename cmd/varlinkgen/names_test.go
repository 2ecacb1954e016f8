package main

import "testing"

func TestGoName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"id":             "ID",
		"ids":            "IDs",
		"topLayer":       "TopLayer",
		"tlsVerify":      "TLSVerify",
		"osFeatures":     "OSFeatures",
		"client_id":      "ClientID",
		"pull_failed":    "PullFailed",
		"ClientIdError":  "ClientIDError",
		"sourceTlsUrl":   "SourceTLSURL",
		"bytesPerSecond": "BytesPerSecond",
		"diffIDs":        "DiffIDs",
		"OSName":         "OSName",
		"v2s1":           "V2s1",
		"idle":           "Idle",
		"a__b_":          "AB",
	} {
		if got := goName(name); got != want {
			t.Errorf("goName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestErrorName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"ImageNotFound":      "ImageNotFoundError",
		"CertificationError": "CertificationError",
		"ClientIdError":      "ClientIDError",
		"ErrorOccurred":      "ErrorOccurredError",
	} {
		if got := errorName(name); got != want {
			t.Errorf("errorName(%q) = %q, want %q", name, got, want)
		}
	}
}
