package engine_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/imaged-project/imaged/engine"
	"github.com/imaged-project/imaged/engine/errdefs"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// searchServer is a registry with the old search.
func searchServer(t testing.TB) string {
	t.Helper()
	type hit struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Stars       int    `json:"star_count"`
		Official    bool   `json:"is_official"`
		Automated   bool   `json:"is_automated"`
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/v1/search", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string][]hit{"results": {
			{Name: "a/" + r.FormValue("q"), Description: strings.Repeat("ä", 5000), Stars: 10, Official: true},
			{Name: "b/" + r.FormValue("q"), Automated: true},
			{Name: "c/" + r.FormValue("q"), Stars: 3},
		}})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func foundNames(results []engine.SearchResult) []string {
	var list []string
	for _, r := range results {
		list = append(list, r.Name+":"+r.Tag)
	}
	return list
}

func TestSearch(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	host := searchServer(t)
	for _, c := range []struct {
		o    engine.SearchOptions
		want []string
	}{
		{engine.SearchOptions{}, []string{"a", "b", "c"}},
		{engine.SearchOptions{Limit: 2}, []string{"a", "b"}},
		{engine.SearchOptions{Stars: 3}, []string{"a", "c"}},
		{engine.SearchOptions{Official: new(true)}, []string{"a"}},
		{engine.SearchOptions{Official: new(false)}, []string{"b", "c"}},
		{engine.SearchOptions{Automated: new(true)}, []string{"b"}},
		{engine.SearchOptions{Automated: new(false), Stars: 4}, []string{"a"}},
	} {
		c.o.TLSVerify = new(false)
		results, err := p.Search(t.Context(), host+"/app", c.o)
		var want []string
		for _, w := range c.want {
			want = append(want, host+"/"+w+"/app:")
		}
		if diff := cmp.Diff(want, foundNames(results)); err != nil || diff != "" {
			t.Errorf("%+v: %v\n%s", c.o, err, diff)
		}
		for _, r := range results {
			if len(r.Description) > 4100 || r.Registry != host {
				t.Errorf("%+v", r)
			}
		}
	}
}

func TestSearchAsksAllRegistries(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	a, b := searchServer(t), registrytest.New(t, registrytest.Options{})
	b.PushImage(t, "my/app:1", registrytest.ImageOptions{})
	search := func(registries ...string) ([]engine.SearchResult, error) {
		quoted := `"` + strings.Join(registries, `", "`) + `"`
		writeFile(t, filepath.Join(p.dirs.Config, "registries.conf"), "unqualified-search-registries = ["+quoted+"]\n")
		if err := p.Reload(); err != nil {
			t.Fatal(err)
		}
		return p.Search(t.Context(), "app", engine.SearchOptions{TLSVerify: new(false)})
	}
	results, err := search(a, "127.0.0.1:1", b.Host())
	want := []string{a + "/a/app:", a + "/b/app:", a + "/c/app:", b.Ref("my/app") + ":"}
	if diff := cmp.Diff(want, foundNames(results)); err != nil || diff != "" {
		t.Errorf("one of three fails: %v\n%s", err, diff)
	}
	_, err = search("127.0.0.1:1", "127.0.0.1:2")
	if e, ok := errors.AsType[*errdefs.RegistryUnreachable](err); !ok || len(e.Attempts) != 2 || e.Attempts[1].Endpoint != "127.0.0.1:2" {
		t.Errorf("all fail: %v", err)
	}
}

// TestSearchOfWhatIsNoRegistry asks servers that answer otherwise.
func TestSearchOfWhatIsNoRegistry(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	for want, answer := range map[string]http.HandlerFunc{
		"RegistryUnreachable": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"RateLimited": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusTooManyRequests)
			}
		},
	} {
		server := httptest.NewServer(answer)
		for _, tags := range []bool{false, true} {
			_, err := p.Search(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/app", engine.SearchOptions{ListTags: tags, TLSVerify: new(false)})
			if errdefs.Name(err) != want {
				t.Errorf("list tags %t: want %s, got %v", tags, want, err)
			}
			if limited, ok := errors.AsType[*errdefs.RateLimited](err); ok && (limited.RetryAfter == nil || *limited.RetryAfter != 7) {
				t.Errorf("list tags %t: try again after %v s", tags, limited.RetryAfter)
			}
		}
		server.Close()
	}
}

func TestSearchListsTags(t *testing.T) {
	t.Parallel()
	p := openPuller(t)
	reg := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "anna", Password: "pw-geheim"})
	reg.PushImage(t, "app:1", registrytest.ImageOptions{})
	reg.PushImage(t, "app:2", registrytest.ImageOptions{})
	o := engine.SearchOptions{ListTags: true, TLSVerify: new(false), Credentials: &engine.Credentials{Username: "anna", Password: "pw-geheim"}}
	results, err := p.Search(t.Context(), reg.Ref("app"), o)
	if diff := cmp.Diff([]string{reg.Ref("app:1"), reg.Ref("app:2")}, foundNames(results)); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if again, err := p.Search(t.Context(), "docker://"+reg.Ref("app"), o); err != nil || len(again) != len(results) {
		t.Errorf("with its transport: %v, %v", again, err)
	}
	o.Limit = 1
	if results, err := p.Search(t.Context(), reg.Ref("app"), o); err != nil || len(results) != 1 {
		t.Errorf("limit: %v, %v", results, err)
	}
	for _, c := range []struct {
		term string
		o    engine.SearchOptions
		want string
	}{
		{reg.Ref("none"), o, "ReferenceNotFound"},
		{reg.Ref("app:1"), o, "InvalidReference"},
		{reg.Ref("app"), engine.SearchOptions{ListTags: true, TLSVerify: new(false)}, "AuthenticationRequired"},
		{reg.Ref("app"), engine.SearchOptions{ListTags: true, Stars: 1}, "InvalidParameter"},
		{"app", o, "InvalidParameter"},
		{"", engine.SearchOptions{}, "InvalidParameter"},
		{"x", engine.SearchOptions{Limit: -1}, "InvalidParameter"},
		{"x", engine.SearchOptions{Limit: 100_000}, "InvalidParameter"},
		{"x", engine.SearchOptions{Stars: -1}, "InvalidParameter"},
		{"a.b?c/x", engine.SearchOptions{}, "InvalidReference"},
		{"127.0.0.1:1/x", engine.SearchOptions{}, "RegistryUnreachable"},
	} {
		if _, err := p.Search(t.Context(), c.term, c.o); errdefs.Name(err) != c.want {
			t.Errorf("%q: want %s, got %v", c.term, c.want, err)
		}
	}
}
