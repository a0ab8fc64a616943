// SPDX-License-Identifier: Apache-2.0

//go:build linux

package disruptive

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// drift deletes the table in a pod. An audit must detect that, and the operator
// must write the table again.
func drift(t *suite.T) {
	const auditInterval = 10 * time.Second // the default is ten minutes
	ms := t.Machines("drift", suite.Machine{Name: "one"})
	pod := ms.Pods["one"]
	ctx := t.Limit(8 * time.Minute)
	t.ResetConfiguration()
	t.Configure(ctx, "audit: {intervalSeconds: 10}\n")

	began := time.Now()
	t.Await(ctx, "an audit", func() bool {
		calls, err := ms.Calls(began)
		return err == nil && slices.ContainsFunc(calls, func(c cluster.Call) bool {
			return c.Verb == "delete" && c.ObjectRef.Resource == "jobs" && strings.HasPrefix(c.ObjectRef.Name, "audit-"+pod.Spec.NodeName)
		})
	})
	_, err := ms.PodNetnsExec(ctx, string(pod.UID), "nft", "delete", "table", "inet", "meshvm")
	t.NoError(err)
	begin := time.Now()
	t.Await(ctx, "the table in the pod", func() bool {
		_, err := ms.NATTable(ctx, string(pod.UID))
		return err == nil
	})
	took := time.Since(begin)
	ms.AwaitReady(ctx, t, "one")
	t.Logf("the table was written again %.1f s after it was deleted, and the object was Ready after %.1f s (audits every %s)",
		took.Seconds(), time.Since(begin).Seconds(), auditInterval)
	// A second drift within the window is repaired after 30 s (docs/drift.md).
	if took > auditInterval+2*time.Minute {
		t.Errorf("the repair took %s with audits every %s", took, auditInterval)
	}

	var repairs map[string]any
	for _, nat := range ms.NATObjects(ctx, t) {
		if uid, _, _ := unstructured.NestedString(nat.Object, "spec", "pod", "uid"); uid == string(pod.UID) {
			repairs, _, _ = unstructured.NestedMap(nat.Object, "status", "repairs")
		}
	}
	t.Logf("status.repairs: %v", repairs)
	if repairs["lastReason"] != string(v1alpha1.ReasonDrifted) {
		t.Errorf("status.repairs.lastReason is %v, want %s", repairs["lastReason"], v1alpha1.ReasonDrifted)
	}
}

// idle checks the operator's write requests and log during a minute without changes and
// without audits. One of three minutes must have none. It ignores leases, which every
// operator renews.
func idle(t *suite.T) {
	const period, periods = time.Minute, 3
	ms := t.Machines("idle", suite.Machine{Name: "one"}, suite.Machine{Name: "two"}, suite.Machine{Name: "three"})
	ctx := t.Limit(8 * time.Minute)
	t.ResetConfiguration()
	t.Configure(ctx, "audit: {intervalSeconds: 0}\n") // no audits
	writes := func(since time.Time) (out []string) {
		calls, err := ms.Calls(since)
		t.NoError(err)
		for _, c := range calls {
			if isWrite(c) && c.ObjectRef.Resource != "leases" {
				out = append(out, c.Verb+" "+c.ObjectRef.Resource+" "+c.ObjectRef.Name)
			}
		}
		return out
	}
	logged := func(since time.Time) string {
		var log, errs strings.Builder
		if err := ms.Kubectl(ctx, cluster.Stdio{Out: &log, Err: &errs}, "-n", scenario.OperatorNamespace, "logs",
			"deployment/"+scenario.OperatorDeployment, "--all-pods", "--since-time="+since.UTC().Format(time.RFC3339)); err != nil {
			t.Fatalf("%v: %s", err, &errs)
		}
		return log.String()
	}
	t.Await(ctx, "ten seconds without a write request", func() bool { return len(writes(time.Now().Add(-10*time.Second))) == 0 })
	// On a busy machine the readiness of a guest can change, which is a change for the operator.
	for attempt := 1; ; attempt++ {
		begin := time.Now()
		select {
		case <-time.After(period):
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
		seen, log := writes(begin), logged(begin)
		t.Logf("%s with three machines and without changes: %d write requests besides leases", period, len(seen))
		switch {
		case len(seen) == 0 && log == "":
			return
		case attempt < periods:
			t.Logf("the operator wrote: %s, and logged:\n%s", strings.Join(seen, ", "), log)
		default:
			t.Fatalf("the operator wrote: %s, and logged:\n%s", strings.Join(seen, ", "), log)
		}
	}
}

func isWrite(c cluster.Call) bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, c.Verb)
}

// nativeNftables checks the paths of packets if Istio writes its rules with
// nftables.
func nativeNftables(t *suite.T) { packetsWithSkew(t, "native-nftables") }

// namespaceLabelOnly checks the paths of packets if pods are injected because of
// the namespace's label only.
func namespaceLabelOnly(t *suite.T) { packetsWithSkew(t, "namespace-label") }

// packetsWithSkew checks the paths of packets of a machine that was created with a
// skew.
func packetsWithSkew(t *suite.T, name string) {
	t.Helper()
	t.Operator()
	t.UseSkew(name)
	s := t.Sample(t.Namespace(name))
	t.Logf("istio-init: %v", t.IstioInit(s.Pod).Args)
	t.CheckSkewOf(t.Limit(time.Minute), name, s.Scenario, s.Pod)
	t.CheckPackets(s)
}
