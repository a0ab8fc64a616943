// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// The responses of Envoy to a request that exceeds a limit of connections or
// requests, and to one without an endpoint.
const (
	overflow       = "reset reason: overflow"
	noHealthyHosts = "no healthy upstream"
)

// circuitBreaker limits the connections of a client's proxy to machine one. Of
// concurrent requests, the proxy refuses those that exceed the limits. Envoy permits each of its
// threads one connection, so their number is not exact.
func circuitBreaker(t *suite.T, ms *suite.Machines) {
	ctx := t.Limit(3 * time.Minute)
	const n = 12
	concurrent := func() (accepted, refused int, out string) {
		out, err := ms.From(ctx, ms.Clients.Inside, "together", fmt.Sprint(n), "http://one/slow?milliseconds=1000")
		if err != nil {
			out += err.Error()
		}
		return strings.Count(out, "200 slow: "), strings.Count(out, overflow), out
	}
	accepted, refused, out := 0, 0, ""
	defer func() {
		if t.Failed() {
			t.Logf("the last responses:\n%s", out)
		}
	}()
	editMesh(ctx, t, ms, `{"trafficPolicy":{"connectionPool":{"tcp":{"maxConnections":1},"http":{"http1MaxPendingRequests":1}}}}`)
	t.Await(ctx, "the client's proxy to refuse requests", func() bool {
		accepted, refused, out = concurrent()
		return accepted > 0 && refused > 0 && accepted+refused == n
	})
	awaitFlag(ctx, t, ms, "UO")
	t.Logf("1 connection and 1 pending request: of %d concurrent requests, %d are accepted and %d refused (%s)", n, accepted, refused, overflow)
	editMesh(ctx, t, ms, "null")
	t.Await(ctx, "all requests to be accepted", func() bool {
		accepted, _, out = concurrent()
		return accepted == n
	})
}

// awaitFlag waits for a response flag in the access log of the client's proxy.
func awaitFlag(ctx context.Context, t *suite.T, ms *suite.Machines, flag string) {
	t.Helper()
	if ok, err := ms.HasAccessLog(ctx); !ok || err != nil {
		t.Logf("the access log is not checked (error: %v)", err)
		return
	}
	t.Await(ctx, "the flag "+flag+" in the access log", func() bool {
		all, err := ms.Connections(ctx, ms.Clients.Inside)
		t.NoError(err)
		return slices.ContainsFunc(all, func(c scenario.Connection) bool { return slices.Contains(strings.Split(c.Flags, ","), flag) })
	})
}

// outlierDetection makes a client's proxy eject the guest of machine one after two
// responses with errors.
func outlierDetection(t *suite.T, ms *suite.Machines) {
	ctx := t.Limit(3 * time.Minute)
	get := func(path string) string {
		out, err := ms.From(ctx, ms.Clients.Inside, "status", "http://one"+path)
		if err != nil {
			return "error: " + err.Error()
		}
		return out
	}
	out := ""
	defer func() {
		if t.Failed() {
			t.Logf("the last response: %s", out)
		}
	}()
	editMesh(ctx, t, ms, `{"trafficPolicy":{"outlierDetection":{"consecutive5xxErrors":2,"interval":"1s","baseEjectionTime":"180s","maxEjectionPercent":100}}}`)
	t.Await(ctx, "the client's proxy to eject the guest", func() bool {
		// A successful response resets the number of consecutive errors.
		_, _ = ms.From(ctx, ms.Clients.Inside, "repeat", "4", "http://one/flaky?fail=1000&key=ejection")
		out = get("/")
		return out == "503 "+noHealthyHosts
	})
	editMesh(ctx, t, ms, "null")
	t.Await(ctx, "a response after the policy was removed", func() bool { return strings.HasPrefix(get("/"), "200 hello from guest one:") })
	ms.AwaitReady(ctx, t, "one")
}
