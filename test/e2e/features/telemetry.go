// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/e2e/suite"
)

// telemetry limits the access log of a running machine's proxy to some requests, and
// removes the limit. The guest does not restart.
func telemetry(t *suite.T) {
	ms := t.Machines("telemetry", suite.Machine{Name: "one"})
	ctx := t.Limit(6 * time.Minute)
	pod, n := ms.Pods["one"], 0
	edit := func(mesh string) {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"mesh":`+mesh+`}}`))
		t.NoError(ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("one")), patch))
	}
	// awaitLog sends pairs of requests until the access log contains the second one of a pair and, as wanted,
	// contains the first one or does not. The proxy writes the lines in the order of the requests.
	awaitLog := func(what string, both bool) {
		first := n
		t.Await(ctx, what, func() bool {
			for _, path := range []string{"unselected", "selected"} {
				if _, err := ms.From(ctx, ms.Clients.Inside, "get", fmt.Sprintf("http://one/%s-%d", path, n)); err != nil {
					return false
				}
			}
			n++
			all, err := ms.Connections(ctx, pod)
			if err != nil {
				return false
			}
			logged := map[string]bool{}
			for _, c := range all {
				logged[c.Path] = true
			}
			for i := first; i < n; i++ {
				if logged[fmt.Sprintf("/selected-%d", i)] && logged[fmt.Sprintf("/unselected-%d", i)] == both {
					t.Logf("%s: pair %d, %d lines in the access log", what, i, len(all))
					return true
				}
			}
			return false
		})
	}
	awaitLog("the access log to contain each request", true)
	edit(`{"telemetry":{"accessLogging":[{"providers":[{"name":"envoy"}],"filter":{"expression":"request.url_path.startsWith('/selected')"}}]}}`)
	awaitLog("the access log to contain only the selected requests", false)
	edit("null")
	awaitLog("the access log to contain each request after the field was removed", true)

	metrics, err := ms.Stats(ctx, pod, `listener\..*_15006\.downstream_cx_total`)
	t.NoError(err)
	t.Logf("metrics of the proxy: %v", metrics)
	total := 0
	for _, value := range metrics {
		total += value
	}
	if total == 0 {
		t.Errorf("the proxy counted no connection")
	}
	object := &unstructured.Unstructured{}
	object.SetAPIVersion("telemetry.istio.io/v1")
	object.SetKind("Telemetry")
	t.Await(ctx, "the Telemetry to be deleted", func() bool { return apierrors.IsNotFound(ms.Get(ctx, ms.Key("one"), object)) })
	ms.AwaitReady(ctx, t, "one")
	if ms.Pods["one"].UID != pod.UID {
		t.Errorf("the pod was replaced")
	}
}
