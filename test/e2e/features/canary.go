// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/e2e/suite"
)

// canary gives the Service of machine "one" a second version with 10 percent of the
// requests, which the client's proxy distributes. Then it stops the second machine, and counts the
// requests that fail until the client's proxy sends all of them to machine "one".
func canary(t *suite.T) {
	ms := t.Machines("canary", suite.Machine{Name: "one", Version: "v1"})
	ms.NeedsEnvoy(t)
	ctx := t.Limit(10 * time.Minute)
	t.NoError(ms.ApplyMachines(ctx, suite.Machine{Name: "two", Version: "v2", Service: "{name: one, trafficPercent: 10}"}.Manifest()))
	ms.AwaitReady(ctx, t, "two")
	for _, name := range []string{"one", "two"} {
		awaitCondition(ctx, t, ms, name, v1alpha1.ConditionServiceShared, "True", v1alpha1.ReasonSeveralMembers)
	}
	t.Await(ctx, "a response of the canary", func() bool { return versionsOf(ctx, t, ms, 50)["two"] > 0 })

	// The standard deviation of the share of 1,000 draws at 10 percent is 0.95 points. A
	// share outside of 3 points is measured again, at most twice.
	const n = 1000
	count := map[string]int{}
	within := func() bool { return count["one"]+count["two"] == n && count["two"] >= 70 && count["two"] <= 130 }
	for i := 0; i < 3 && !within(); i++ {
		count = versionsOf(ctx, t, ms, n)
		t.Logf("%d requests, 10 percent for two: one answered %d, two answered %d", n, count["one"], count["two"])
	}
	if !within() {
		t.Errorf("two answered %d of %d requests, want 7 to 13 percent", count["two"], n)
	}

	traffic := ms.StartRequests(ctx, ms.Clients.Inside, "new-connections=http://one/", "one-connection=keep+http://one/")
	begin := time.Now()
	stop := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"virtualMachine":{"runStrategy":"Halted"}}}`))
	t.NoError(ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("two")), stop))
	message := awaitCondition(ctx, t, ms, "one", v1alpha1.ConditionTrafficShifted, "True", v1alpha1.ReasonVersionNotServing)
	t.Logf("shifted %.1f s after the edit: %s", time.Since(begin).Seconds(), message)
	// No API shows when the client's proxy receives the new weights. With the old weights,
	// a batch without a request to two has a probability below 0.003 percent (0.9^100).
	const batch = 100
	t.Await(ctx, "the client's proxy to send no request to the stopped version", func() bool { return versionsOf(ctx, t, ms, batch)["one"] == batch })
	moved := time.Since(begin)
	seen, err := traffic.Stop()
	t.NoError(err)
	sent, failed := 0, 0
	for _, w := range seen {
		sent, failed = sent+w.Sent, failed+w.Failed
		if w.Failed > 0 {
			t.Logf("%s: %d of %d requests failed, the first: %s", w.Name, w.Failed, w.Sent, w.First)
		}
	}
	// The number of failed requests has no limit here: it depends on whether the proxy receives
	// the weights before the guest is stopped, and a request to a stopped guest takes seconds.
	t.Logf("%d requests, %d failed, share moved after %.1f s", sent, failed, moved.Seconds())
	if got := versionsOf(ctx, t, ms, 2*batch)["one"]; got != 2*batch {
		t.Errorf("one answered %d of %d requests after its share moved", got, 2*batch)
	}
}

// versionsOf counts the responses to n requests to machine "one" by machine.
func versionsOf(ctx context.Context, t *suite.T, ms *suite.Machines, n int) map[string]int {
	t.Helper()
	out, err := ms.From(ctx, ms.Clients.Inside, "repeat", fmt.Sprint(n), "http://one/")
	if err != nil {
		t.Logf("%d requests: %v", n, err)
	}
	count := map[string]int{}
	for line := range strings.Lines(out) {
		for _, name := range []string{"one", "two"} {
			if strings.HasPrefix(line, "hello from guest "+name+":") {
				count[name]++
			}
		}
	}
	return count
}
