// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/e2e/suite"
)

// routed are routes of the machine one. The client has the User-Agent of Go's library.
const routed = `[
	{"name":"fault","match":[{"uri":{"prefix":"/fault"},"headers":{"user-agent":{"prefix":"Go-http-client"}}}],"fault":{"abort":{"httpStatus":503,"percentage":{"value":100}}}},
	{"name":"slow","match":[{"uri":{"prefix":"/slow"}}],"timeout":"0.5s"},
	{"name":"mirror","match":[{"uri":{"prefix":"/flaky"}}],"mirror":{"host":"two"},"mirrorPercentage":{"value":100}},
	{"name":"split","match":[{"uri":{"prefix":"/split"}}],"rewrite":{"uri":"/"},"route":[{"destination":{},"weight":50},{"destination":{"host":"two"},"weight":50}]}
]`

// routes declares routes of a running machine, and removes them. The proxy of a client
// must apply them. Further steps use the same machine.
func routes(t *suite.T) {
	ms := t.Machines("routes", suite.Machine{Name: "one"}, suite.Machine{Name: "two"})
	ctx := t.Limit(8 * time.Minute)
	edit := func(mesh string) { editMesh(ctx, t, ms, mesh) }
	get := func(args ...string) string {
		out, err := ms.From(ctx, ms.Clients.Inside, args...)
		if err != nil {
			out += err.Error()
		}
		return out
	}
	edit(`{"routes":{"http":` + routed + `}}`)
	t.Await(ctx, "a fault of the proxy", func() bool { return strings.Contains(get("get", "http://one/fault"), "fault filter abort") })
	awaitFlag(ctx, t, ms, "FI")
	if out := get("get", "http://one/"); !strings.Contains(out, "one") {
		t.Errorf("a request that no route of the spec matches: %s", out)
	}
	if out := get("get", "http://one/slow?milliseconds=4000"); !strings.Contains(out, "upstream request timeout") {
		t.Errorf("a request that exceeds the timeout: %s", out)
	}
	if out := get("repeat", "40", "http://one/split"); !strings.Contains(out, "one") || !strings.Contains(out, "two") {
		t.Errorf("40 requests with equal weights: %s", out)
	}
	const requests = 5
	get("repeat", fmt.Sprint(requests), "http://one/flaky?fail=0&key=routes")
	tries := 0
	t.Await(ctx, "the copies of the requests", func() bool {
		tries++ // Each is a request as well.
		var n int
		_, err := fmt.Sscanf(get("get", "http://two/flaky?fail=0&key=routes"), "flaky: request %d", &n)
		return err == nil && n >= requests+tries
	})
	edit("null")
	t.Await(ctx, "a response after the routes were removed", func() bool { return !strings.Contains(get("get", "http://one/fault"), "fault filter abort") })
	ms.AwaitReady(ctx, t, "one")

	t.Step("Gateway", func(t *suite.T) { gateway(t, ms) })
	t.Step("CircuitBreaker", func(t *suite.T) { circuitBreaker(t, ms) })
	t.Step("OutlierDetection", func(t *suite.T) { outlierDetection(t, ms) })
}

// editMesh replaces fields of the mesh policy of machine one.
func editMesh(ctx context.Context, t *suite.T, ms *suite.Machines, mesh string) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"mesh":`+mesh+`}}`))
	t.NoError(ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("one")), patch))
}
