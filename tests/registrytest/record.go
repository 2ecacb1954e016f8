package registrytest

import (
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Request is one request that a registry got.
type Request struct {
	// Method and Path are those of the request line; Path has no query.
	Method, Path string
	// Authorization is the header of that name, secret included; empty: none.
	Authorization string
	// Status is the status that was sent; 0 if the connection was reset or the
	// answer has not begun.
	Status int
	// Bytes counts the body bytes sent so far.
	Bytes int64
}

// records are the requests of a registry, in order of arrival.
type records struct {
	mu  sync.Mutex // guards all, and every Request in it
	all []*Request
}

// add begins the record of a request.
func (r *records) add(req *http.Request) *Request {
	rec := &Request{Method: req.Method, Path: req.URL.Path, Authorization: req.Header.Get("Authorization")}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rec)
	return rec
}

// update changes a record.
func (r *records) update(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// Requests returns all requests so far, in order of arrival.
func (r *Registry) Requests() []Request {
	r.records.mu.Lock()
	defer r.records.mu.Unlock()
	all := make([]Request, 0, len(r.records.all))
	for _, rec := range r.records.all {
		all = append(all, *rec)
	}
	return all
}

// ForgetRequests empties the record.
func (r *Registry) ForgetRequests() {
	r.records.update(func() { r.records.all = nil })
}

// Count returns how many requests of a method (empty: any) had a path
// containing part.
func (r *Registry) Count(method, part string) int {
	all := slices.DeleteFunc(r.Requests(), func(req Request) bool {
		return method != "" && req.Method != method || !strings.Contains(req.Path, part)
	})
	return len(all)
}

// Downloads returns how often each blob was asked for, by digest.
func (r *Registry) Downloads() map[string]int {
	found := map[string]int{}
	for _, req := range r.Requests() {
		_, digest, ok := strings.Cut(req.Path, "/blobs/")
		if ok && req.Method == http.MethodGet {
			found[digest]++
		}
	}
	return found
}

// BytesSent returns the body bytes of all answers so far.
func (r *Registry) BytesSent() int64 {
	var sum int64
	for _, req := range r.Requests() {
		sum += req.Bytes
	}
	return sum
}

// record notes every request before next sees it, and limits the rate of all
// answers together.
func (r *Registry) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rec := r.records.add(req)
		next.ServeHTTP(&recorder{ResponseWriter: w, registry: r, req: req, rec: rec}, req)
	})
}

// recorder counts what goes through a response.
type recorder struct {
	http.ResponseWriter
	registry *Registry
	req      *http.Request
	rec      *Request
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (w *recorder) WriteHeader(status int) {
	w.registry.records.update(func() { w.rec.Status = status })
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *recorder) Write(p []byte) (int, error) {
	w.registry.records.update(func() {
		if w.rec.Status == 0 {
			w.rec.Status = http.StatusOK
		}
	})
	return writePaced(w.req.Context(), w.registry.pace, p, func(part []byte) (int, error) {
		n, err := w.ResponseWriter.Write(part)
		w.registry.records.update(func() { w.rec.Bytes += int64(n) })
		return n, err
	})
}
