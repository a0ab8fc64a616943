// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"meshvm.io/meshvm/test/cluster/programs/flow"
)

// fetched is the response of /get.
type fetched struct {
	Code         int    `json:"code,omitempty"`
	Body         string `json:"body,omitempty"`
	Error        string `json:"error,omitempty"`
	Milliseconds int64  `json:"milliseconds"`
}

// get sends a request from the guest over a new connection.
func get(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	client := http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var out fetched
	answer, err := client.Get(r.URL.Query().Get("url"))
	if err != nil {
		out.Error = err.Error()
	} else {
		body, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
		if err != nil {
			out.Error = err.Error()
		}
		_ = answer.Body.Close()
		out.Code, out.Body = answer.StatusCode, string(body)
	}
	out.Milliseconds = time.Since(begin).Milliseconds()
	answerJSON(w, out)
}

func slow(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("milliseconds"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(time.Duration(n) * time.Millisecond):
	case <-r.Context().Done():
	}
	_, _ = fmt.Fprintf(w, "slow: %d ms\n", n)
}

// failures counts the requests of /flaky by key.
var failures = struct {
	mu   sync.Mutex
	seen map[string]int
}{seen: map[string]int{}}

func flaky(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("fail"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	key := r.URL.Query().Get("key")
	failures.mu.Lock()
	failures.seen[key]++
	seen := failures.seen[key]
	failures.mu.Unlock()
	if seen <= n {
		http.Error(w, fmt.Sprintf("request %d fails", seen), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintf(w, "flaky: request %d\n", seen)
}

var flows flow.Flows

// patience is the timeout of flows. It is longer than a live migration pauses
// the guest.
const patience = 60 * time.Second

func hold(w http.ResponseWriter, r *http.Request) {
	report, err := flows.Start(r.URL.Query().Get("name"), r.URL.Query().Get("addr"), patience)
	if err != nil {
		report.Error = err.Error()
	}
	answerJSON(w, report)
}

func held(w http.ResponseWriter, r *http.Request) {
	report, err := flows.Report(r.URL.Query().Get("name"))
	if err != nil {
		report.Error = err.Error()
	}
	answerJSON(w, report)
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
