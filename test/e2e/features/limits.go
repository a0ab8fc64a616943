// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/programs/flow"
	"meshvm.io/meshvm/test/e2e/suite"
)

// rateLimited is the response of Envoy to a request over a limit.
const rateLimited = "local_rate_limited"

// limits counts the connections and requests that the proxy of a guest accepts. An edit of
// a limit takes effect without a restart, and the new limit begins with a full bucket.
func limits(t *suite.T) {
	const open = 3
	ms := t.Machines("limits", suite.Machine{Name: "one", Lines: fmt.Sprintf("maxConnections: %d", open)})
	ctx := t.Limit(8 * time.Minute)
	pod := ms.Pods["one"]
	ask := func(args ...string) string {
		out, err := ms.From(ctx, ms.Clients.Inside, args...)
		if err != nil {
			return "error: " + err.Error()
		}
		return out
	}
	edit := func(operation, field, value string) {
		patch := fmt.Sprintf(`[{"op":%q,"path":"/spec/ports/%s"`, operation, field)
		if value != "" {
			patch += `,"value":` + value
		}
		t.NoError(ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("one")), client.RawPatch(types.JSONPatchType, []byte(patch+"}]"))))
	}

	// held opens a connection and reports whether the guest answers.
	held := func(name string) (ok bool) {
		ask("hold", name, "one:9100")
		t.Await(ctx, "a result of connection "+name, func() bool {
			var r flow.Report
			if err := json.Unmarshal([]byte(ask("held", name)), &r); err != nil {
				return false
			}
			ok = r.Answered > 0
			return ok || r.Error != ""
		})
		return ok
	}
	const attempts = open + 4
	var connected []int
	for i := range attempts {
		if held(strconv.Itoa(i)) {
			connected = append(connected, i)
		}
	}
	t.Logf("maxConnections %d: %d of %d connections are open", open, len(connected), attempts)
	if len(connected) != open {
		t.Errorf("connections %v of %d are open, want %d", connected, attempts, open)
	}
	edit("remove", "1/maxConnections", "")
	t.Await(ctx, "a connection without a limit", func() bool { return held("unlimited") })

	// No new token arrives during the test. The first limit shows that the filter is present.
	const few, many, total, matching = 1, 60, 20, 5
	hourly := func(requests int, more string) string {
		return fmt.Sprintf(`{"requests":%d,"per":"Hour"%s}`, requests, more)
	}
	edit("add", "1/rateLimit", hourly(few, ""))
	connects := func() bool { return strings.HasPrefix(ask("tcp", "one:9100", "hello"), "hello") }
	t.Await(ctx, "the proxy to close a connection", func() bool { return !connects() })
	edit("add", "1/rateLimit", hourly(matching, ""))
	t.Await(ctx, "a connection within the new limit", connects)
	accepted := 1
	for range 2 * matching {
		if connects() {
			accepted++
		}
	}
	t.Logf("%d new connections per hour: %d of %d are accepted", matching, accepted, 2*matching+1)
	within(t, "new connections", accepted, matching)

	edit("add", "0/rateLimit", hourly(few, ""))
	t.Await(ctx, "the proxy to refuse a request", func() bool { return ask("status", "http://one/") == "429 "+rateLimited })
	edit("add", "0/rateLimit", hourly(total, fmt.Sprintf(`,"rules":[{"name":"one","match":{"pathPrefix":"/limited","methods":["GET"]},"requests":%d,"per":"Hour"}]`, matching)))
	repeat := func(n int, path string) (accepted, refused int, out string) {
		out = ask("repeat", strconv.Itoa(n), "http://one"+path)
		return strings.Count(out, "hello from guest"), strings.Count(out, rateLimited), out
	}
	count := func(n int, path string) int {
		accepted, refused, out := repeat(n, path)
		if accepted+refused != n {
			t.Errorf("%d accepted and %d refused requests of %d: %s", accepted, refused, n, out)
		}
		return accepted
	}
	// While the proxy replaces the listener, requests can fail.
	allAccepted := func(n int, path string) func() bool {
		return func() bool {
			accepted, _, _ := repeat(n, path)
			return accepted == n
		}
	}
	t.Await(ctx, "a request within the new limit", allAccepted(1, "/limited"))
	ofRule := 1 + count(3*matching, "/limited/path")
	ofPort := ofRule + count(many, "/")
	t.Logf("%d requests per hour, %d of them with /limited: %d and %d are accepted", total, matching, ofPort, ofRule)
	within(t, "requests of the rule", ofRule, matching)
	within(t, "requests", ofPort, total)

	const rate, burst = 5, 10
	edit("add", "0/rateLimit", fmt.Sprintf(`{"requests":%d,"per":"Second","burst":%d}`, rate, burst))
	t.Await(ctx, "a request within the rate", func() bool { return strings.HasPrefix(ask("status", "http://one/"), "200 ") })
	begin := time.Now()
	perSecond := count(4*many, "/")
	elapsed := time.Since(begin)
	most := burst + int(rate*elapsed.Seconds()) + 1
	t.Logf("%d requests per second, burst %d: %d of %d are accepted in %.1f s, at most %d", rate, burst, perSecond, 4*many, elapsed.Seconds(), most)
	if perSecond > most {
		t.Errorf("%d requests are accepted in %s, at most %d are within the limit", perSecond, elapsed, most)
	}

	edit("remove", "0/rateLimit", "")
	edit("remove", "1/rateLimit", "")
	filter := &unstructured.Unstructured{}
	filter.SetAPIVersion("networking.istio.io/v1alpha3")
	filter.SetKind("EnvoyFilter")
	t.Await(ctx, "the EnvoyFilter to be deleted", func() bool { return apierrors.IsNotFound(ms.Get(ctx, ms.Key("one"), filter)) })
	t.Await(ctx, "all requests to be accepted", allAccepted(many, "/"))
	ms.AwaitReady(ctx, t, "one")
	if ms.Pods["one"].UID != pod.UID {
		t.Errorf("the pod was replaced")
	}
}

// within compares a number with a limit. In an hour, one further token can arrive during
// the test.
func within(t *suite.T, what string, got, limit int) {
	t.Helper()
	if got < limit || got > limit+1 {
		t.Errorf("%d %s are accepted, the limit is %d", got, what, limit)
	}
}
