package registrytest

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Fault is a way to misbehave. The zero value does nothing; several fields may
// be set together. Status, Redirect and Reset replace the answer, the others
// spoil it.
type Fault struct {
	// Status answers with an error of this status.
	Status int
	// Code and Message are the registry's error in the body of such an answer;
	// empty: UNKNOWN, and the status's text.
	Code, Message string
	// RetryAfter is that header of such an answer, in seconds or as a date.
	RetryAfter string
	// Redirect answers 307 to this address; one that ends in / gets the
	// request's path added.
	Redirect string
	// Reset breaks the connection off with a TCP reset. With After, so many
	// bytes of the true answer's body come first.
	Reset bool
	// Truncate ends the body after After bytes by closing the connection.
	Truncate bool
	// Stall holds the answer after After body bytes, until it is closed, the
	// client is gone or the registry is closed.
	Stall <-chan struct{}
	// After is where in the body Reset, Truncate, Stall and Corrupt begin.
	After int64
	// Corrupt flips the bits of the body's byte number After.
	Corrupt bool
	// Body replaces the body, status and headers staying as they were.
	Body []byte
	// Header replaces these headers of the answer, such as Content-Type.
	Header map[string]string
	// ContentLength is what the answer claims to have; zero: the truth.
	ContentLength int64
	// Rate slows this one answer down, in bytes a second; zero: no limit.
	Rate int64
}

// Rule says which requests a fault befalls. A request befalls the first rule
// that fits, in the order in which they were added.
type Rule struct {
	// Method of the requests; empty: any.
	Method string
	// Path is a part of their path, such as /manifests/ or a digest; empty: any.
	Path string
	// Skip lets so many fitting requests pass unharmed first.
	Skip int
	// Times is how many requests are harmed after that; zero: all.
	Times int
	// Fault is what happens to them.
	Fault Fault
}

// fits says whether a rule is about a request, leaving its counters aside.
func (r *Rule) fits(req *http.Request) bool {
	return (r.Method == "" || r.Method == req.Method) && strings.Contains(req.URL.Path, r.Path)
}

// faults are the rules in force.
type faults struct {
	mu    sync.Mutex // guards rules
	rules []*countedRule
}

// countedRule is a rule with the number of requests that it fitted.
type countedRule struct {
	Rule
	seen int
}

// find counts a request and returns the fault that befalls it; nil: none.
func (f *faults) find(req *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, rule := range f.rules {
		if !rule.fits(req) {
			continue
		}
		rule.seen++
		if rule.seen > rule.Skip && (rule.Times == 0 || rule.seen <= rule.Skip+rule.Times) {
			return new(rule.Fault)
		}
	}
	return nil
}

// Misbehave adds rules. Requests that fail authentication do not reach them;
// those to the token server (path /token) do.
func (r *Registry) Misbehave(rules ...Rule) {
	r.faults.mu.Lock()
	defer r.faults.mu.Unlock()
	for _, rule := range rules {
		r.faults.rules = append(r.faults.rules, &countedRule{Rule: rule})
	}
}

// Behave removes all rules. Answers that are already being spoilt go on so.
func (r *Registry) Behave() {
	r.faults.mu.Lock()
	defer r.faults.mu.Unlock()
	r.faults.rules = nil
}

// misbehave spoils the answers of next as the rules in force say.
func (r *Registry) misbehave(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fault := r.faults.find(req)
		if fault == nil {
			next.ServeHTTP(w, req)
			return
		}
		if fault.replaces(w, req) {
			return
		}
		s := &spoiler{ResponseWriter: w, ctx: req.Context(), fault: fault, pace: newPacer(fault.Rate), closing: r.closing}
		next.ServeHTTP(s, req)
		s.finish()
	})
}

// replaces sends the fault's own answer, if it has one.
func (f *Fault) replaces(w http.ResponseWriter, req *http.Request) bool {
	switch {
	case f.Redirect != "":
		target := f.Redirect
		if strings.HasSuffix(target, "/") {
			target = strings.TrimSuffix(target, "/") + req.URL.RequestURI()
		}
		http.Redirect(w, req, target, http.StatusTemporaryRedirect)
	case f.Status != 0:
		f.writeStatus(w)
	case f.Reset && f.After == 0:
		reset(w)
	default:
		return false
	}
	return true
}

// writeStatus sends the error that the fault describes.
func (f *Fault) writeStatus(w http.ResponseWriter) {
	code, message := f.Code, f.Message
	if code == "" {
		code = "UNKNOWN"
	}
	if message == "" {
		message = http.StatusText(f.Status)
	}
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	if f.Body == nil {
		writeError(w, f.Status, code, message)
		return
	}
	w.WriteHeader(f.Status)
	// A client that is gone does not want the body.
	_, _ = w.Write(f.Body)
}

// reset ends a connection with a TCP reset and does not return.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	raw := conn
	if layered, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = layered.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		// Without linger, closing sends RST instead of FIN.
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
	panic(http.ErrAbortHandler)
}

// contentLength is the header's value for a number of bytes.
func contentLength(n int64) string { return strconv.FormatInt(n, 10) }
