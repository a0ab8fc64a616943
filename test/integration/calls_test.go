// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
)

// recorder counts the operator's requests to the API server by verb and
// resource, and can make one of its writes fail.
type recorder struct {
	mu     sync.Mutex
	counts map[string]int
	// succeeded are the counts of requests without an error.
	succeeded map[string]int
	// patched are the numbers of successful patches by the path of the object.
	patched map[string]int
	writes  int
	fault   *fault
}

// fault fails the n-th write from now on, before or after it reached the API
// server, like a crash or a lost response.
type fault struct {
	at        int
	committed bool
	done      bool
}

// errInjected is the error of a fault.
var errInjected = errors.New("injected: connection lost")

func (r *recorder) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		verb, resource := classify(req)
		fail, committed := r.note(verb, resource)
		if fail && !committed {
			return nil, errInjected
		}
		response, err := next.RoundTrip(req)
		if err == nil && response.StatusCode < http.StatusMultipleChoices {
			r.noteSuccess(verb, resource, req)
		}
		if fail && err == nil {
			_ = response.Body.Close()
			return nil, errInjected
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// classify returns the RBAC verb and resource of a request.
func classify(req *http.Request) (verb, resource string) {
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	if len(parts) > 0 && parts[0] == "api" {
		parts = parts[min(2, len(parts)):]
	} else {
		parts = parts[min(3, len(parts)):]
	}
	named := false
	if len(parts) >= 2 && parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	if len(parts) > 0 {
		resource = parts[0]
		named = len(parts) > 1
	}
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	switch req.Method {
	case http.MethodGet:
		switch {
		case req.URL.Query().Get("watch") != "":
			verb = "watch"
		case named:
			verb = "get"
		default:
			verb = "list"
		}
	case http.MethodPost:
		verb = "create"
	case http.MethodPut:
		verb = "update"
	case http.MethodPatch:
		verb = "patch"
		if strings.Contains(req.Header.Get("Content-Type"), "apply-patch") {
			verb = "apply"
		}
	case http.MethodDelete:
		verb = "delete"
	default:
		verb = strings.ToLower(req.Method)
	}
	return verb, resource
}

var readVerbs = []string{"get", "list", "watch"}

func (r *recorder) note(verb, resource string) (fail, committed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[string]int{}
	}
	r.counts[verb+" "+resource]++
	// Events are best effort and asynchronous.
	if slices.Contains(readVerbs, verb) || resource == "events" {
		return false, false
	}
	r.writes++
	if r.fault != nil && !r.fault.done && r.writes == r.fault.at {
		r.fault.done = true
		return true, r.fault.committed
	}
	return false, false
}

// reset resets the counts and sets a fault, if any.
func (r *recorder) reset(f *fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts, r.succeeded, r.writes, r.fault = map[string]int{}, map[string]int{}, 0, f
}

func (r *recorder) writeCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writes
}

// count returns the number of calls of a verb for a resource.
func (r *recorder) count(verb, resource string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[verb+" "+resource]
}

// countWrites returns the number of successful writes to the selected resources.
func (r *recorder) countWrites(selected func(resource string) bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, count := range r.succeeded {
		verb, resource, _ := strings.Cut(key, " ")
		if !slices.Contains(readVerbs, verb) && selected(resource) {
			n += count
		}
	}
	return n
}

func (r *recorder) noteSuccess(verb, resource string, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.succeeded == nil {
		r.succeeded = map[string]int{}
	}
	r.succeeded[verb+" "+resource]++
	if req.Method != http.MethodPatch {
		return
	}
	if r.patched == nil {
		r.patched = map[string]int{}
	}
	r.patched[req.URL.Path]++
}

// patches returns the number of successful patches, including applies, of an object.
func (r *recorder) patches(path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.patched[path]
}

// table returns the calls by verb and resource, writes first.
func (r *recorder) table() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := make([]string, 0, len(r.counts))
	for k := range r.counts {
		keys = append(keys, k)
	}
	isRead := func(k string) bool { return slices.Contains(readVerbs, strings.Fields(k)[0]) }
	sort.Slice(keys, func(i, j int) bool {
		if isRead(keys[i]) != isRead(keys[j]) {
			return isRead(keys[j])
		}
		return keys[i] < keys[j]
	})
	var b strings.Builder
	for _, k := range keys {
		verb, resource, _ := strings.Cut(k, " ")
		fmt.Fprintf(&b, "%-8s %-44s %4d\n", verb, resource, r.counts[k])
	}
	return b.String()
}
