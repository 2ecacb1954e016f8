package registrytest

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// defaultTokenLife is how long a token is good for if Options do not say.
const defaultTokenLife = 5 * time.Minute

// tokens are the bearer tokens a registry gave out.
type tokens struct {
	mu sync.Mutex // guards expiry
	// expiry holds the end of every token that was not revoked.
	expiry map[string]time.Time
}

// issue makes a token that is good for life.
func (t *tokens) issue(life time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.expiry == nil {
		t.expiry = map[string]time.Time{}
	}
	token := rand.Text()
	t.expiry[token] = time.Now().Add(life)
	return token
}

// valid says whether a token was issued and is still good.
func (t *tokens) valid(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.expiry[token])
}

// revoke ends every token issued so far.
func (t *tokens) revoke() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.expiry)
}

// ExpireTokens ends every bearer token that was given out, at once: the next
// request with one is answered with a new challenge.
func (r *Registry) ExpireTokens() { r.tokens.revoke() }

// authenticate lets only those through to next who satisfy Options.Auth.
func (r *Registry) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.admits(req) {
			next.ServeHTTP(w, req)
			return
		}
		w.Header().Set("WWW-Authenticate", r.challenge(req))
		w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
		writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	})
}

// admits says whether a request carries what Options.Auth asks for.
func (r *Registry) admits(req *http.Request) bool {
	switch r.opts.Auth {
	case AuthBasic:
		return r.knows(req)
	case AuthBearer:
		token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		return ok && r.tokens.valid(token)
	default:
		return true
	}
}

// knows says whether a request carries the registry's user and password.
func (r *Registry) knows(req *http.Request) bool {
	user, password, ok := req.BasicAuth()
	return ok && same(user, r.opts.Username) && same(password, r.opts.Password)
}

// same compares two secrets.
func same(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// challenge is the WWW-Authenticate header of a refusal.
func (r *Registry) challenge(req *http.Request) string {
	if r.opts.Auth == AuthBasic {
		return `Basic realm="registrytest"`
	}
	realm := r.opts.Realm
	if realm == "" {
		realm = r.URL() + "/token"
	}
	header := fmt.Sprintf(`Bearer realm=%q,service="registrytest"`, realm)
	if repository := repositoryOf(req.URL.Path); repository != "" {
		header += fmt.Sprintf(`,scope="repository:%s:%s"`, repository, actions(req.Method))
	}
	return header
}

// actions are the rights a request of this method needs.
func actions(method string) string {
	if method == http.MethodGet || method == http.MethodHead {
		return "pull"
	}
	return "pull,push"
}

// repositoryOf returns the repository in a path such as
// /v2/some/repository/blobs/sha256:…; empty if it names none.
func repositoryOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return ""
	}
	for _, kind := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		if i := strings.LastIndex(rest, kind); i > 0 {
			return rest[:i]
		}
	}
	return ""
}

// serveToken is the token server: GET with basic authentication, and the OAuth2
// POST with a refresh token or a password.
func (r *Registry) serveToken(w http.ResponseWriter, req *http.Request) {
	if !r.tokenAllowed(req) {
		writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
		return
	}
	life := r.opts.TokenLife
	if life == 0 {
		life = defaultTokenLife
	}
	token := r.tokens.issue(life)
	w.Header().Set("Content-Type", "application/json")
	// A client that is gone does not want its token.
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token":        token,
		"access_token": token,
		"expires_in":   max(1, int(life/time.Second)),
		"issued_at":    time.Now().UTC().Format(time.RFC3339),
	})
}

// tokenAllowed says whether the sender of a token request may have a token.
func (r *Registry) tokenAllowed(req *http.Request) bool {
	if req.Method != http.MethodPost {
		_, _, given := req.BasicAuth()
		return r.knows(req) || !given && r.opts.Username == ""
	}
	switch req.PostFormValue("grant_type") {
	case "refresh_token":
		return r.opts.IdentityToken != "" && same(req.PostFormValue("refresh_token"), r.opts.IdentityToken)
	case "password":
		return same(req.PostFormValue("username"), r.opts.Username) && same(req.PostFormValue("password"), r.opts.Password)
	}
	return false
}

// writeError answers with an error body as registries send it.
func writeError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that is gone does not want to know why.
	_ = json.NewEncoder(w).Encode(map[string]any{
		"errors": []map[string]string{{"code": code, "message": message}},
	})
}
