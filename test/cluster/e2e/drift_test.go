// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// auditInterval of the manager in this test; the default is ten minutes.
const auditInterval = 10 * time.Second

// noAudits turns audits off.
const noAudits = -time.Second

// setAuditInterval configures the manager. Zero is the default, and noAudits none.
func setAuditInterval(ctx context.Context, t *testing.T, s *scenario.Scenario, interval time.Duration) {
	t.Helper()
	fields := ""
	switch {
	case interval == noAudits:
		fields = "audit: {intervalSeconds: 0}\n"
	case interval != 0:
		fields = fmt.Sprintf("audit: {intervalSeconds: %d}\n", int(interval.Seconds()))
	}
	configure(ctx, t, s, fields)
}

// configure gives the manager another configuration, and replaces it, so that it
// is known when it is in force.
func configure(ctx context.Context, t *testing.T, s *scenario.Scenario, fields string) {
	t.Helper()
	key := client.ObjectKey{Namespace: scenario.OperatorNamespace, Name: "meshvm-manager-config"}
	var m corev1.ConfigMap
	if err := s.Get(ctx, key, &m); err != nil {
		t.Fatal(err)
	}
	m.Data["config.yaml"] = "apiVersion: config.meshvm.io/v1alpha1\nkind: OperatorConfiguration\n" + fields
	if err := s.Update(ctx, &m); err != nil {
		t.Fatal(err)
	}
	key.Name = scenario.OperatorDeployment
	var d appsv1.Deployment
	if err := s.Get(ctx, key, &d); err != nil {
		t.Fatal(err)
	}
	before := d.DeepCopy()
	d.Spec.Template.Annotations["test.meshvm.io/configuration"] = fields
	if err := s.Patch(ctx, &d, client.StrategicMergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	if err := s.OperatorReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.OperatorLeads(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestDrift deletes the table in a pod: an audit finds it gone, and it comes back.
func TestDrift(t *testing.T) {
	p := machines(t)
	ctx := testContext(t, 8*time.Minute)
	setAuditInterval(ctx, t, p.Scenario, auditInterval)
	defer setAuditInterval(ctx, t, p.Scenario, 0)

	// The new manager has to get the lease first.
	began := time.Now()
	await(ctx, t, "an audit", func() bool {
		calls, err := p.Calls(began)
		return err == nil && slices.ContainsFunc(calls, func(c cluster.Call) bool {
			return c.Verb == "delete" && c.ObjectRef.Resource == "jobs" && strings.HasPrefix(c.ObjectRef.Name, "audit-"+p.one.Spec.NodeName)
		})
	})
	if _, err := p.PodNetnsExec(ctx, string(p.one.UID), "nft", "delete", "table", "inet", "meshvm"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	await(ctx, t, "the table in the pod", func() bool {
		_, err := p.NATTable(ctx, string(p.one.UID))
		return err == nil
	})
	took := time.Since(begin)
	if _, err := p.ReadyPod(ctx, meshKey("one")); err != nil {
		t.Fatal(err)
	}
	t.Logf("table deleted: there again after %.1f s, the object Ready after %.1f s (audits every %s)", took.Seconds(), time.Since(begin).Seconds(), auditInterval)
	// A second drift within the window is repaired after 30 s (docs/drift.md).
	if took > auditInterval+45*time.Second {
		t.Errorf("the repair took %s, with audits every %s", took, auditInterval)
	}

	var repairs map[string]any
	for _, nat := range p.natObjects(ctx, t) {
		if pod, _, _ := unstructured.NestedString(nat.Object, "spec", "pod", "uid"); pod == string(p.one.UID) {
			repairs, _, _ = unstructured.NestedMap(nat.Object, "status", "repairs")
		}
	}
	t.Logf("status.repairs: %v", repairs)
	if repairs["lastReason"] != string(v1alpha1.ReasonDrifted) {
		t.Errorf("status.repairs does not have %s as its last reason", v1alpha1.ReasonDrifted)
	}
}

// natObjects are the PodNATConfigurations of the machines' namespace.
func (p *pair) natObjects(ctx context.Context, t *testing.T) []unstructured.Unstructured {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PodNATConfigurationList"))
	if err := p.List(ctx, list, client.InNamespace(meshNamespace)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// TestSandboxKilled ends a pod's sandbox. The kubelet ends the pod, and KubeVirt
// makes another, with another UID.
func TestSandboxKilled(t *testing.T) {
	p := machines(t)
	ctx := testContext(t, 8*time.Minute)
	sandbox, err := p.NodeExec(ctx, p.one.Spec.NodeName, "ctr", "--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io",
		"containers", "list", "-q", "labels.\"io.cri-containerd.kind\"==sandbox,labels.\"io.kubernetes.pod.uid\"=="+string(p.one.UID))
	if err != nil || strings.TrimSpace(sandbox) == "" {
		t.Fatalf("sandbox of %s: %q, %v", p.one.Name, sandbox, err)
	}
	if _, err := p.NodeExec(ctx, p.one.Spec.NodeName, "ctr", "--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io",
		"tasks", "kill", "--signal", "SIGKILL", strings.TrimSpace(sandbox)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	await(ctx, t, "rules in another sandbox", func() bool {
		m, err := p.Machine(ctx, meshKey("one"))
		if err != nil || len(m.Status.Pods) == 0 {
			return false
		}
		pod := m.Status.Pods[len(m.Status.Pods)-1]
		if pod.UID == p.one.UID || pod.Programmed != "True" {
			return false
		}
		_, err = p.NATTable(ctx, string(pod.UID))
		return err == nil
	})
	t.Logf("sandbox ended: the machine's new pod has verified rules after %.1f s", time.Since(begin).Seconds())
	p.awaitGuest(ctx, t, "one")
	t.Logf("... and its guest answers after %.1f s", time.Since(begin).Seconds())
}

// idle is how long nothing is done in TestIdle.
const idle = time.Minute

// TestIdle counts what the operator writes while nothing happens and no audit is
// due. Leases are renewed all the time, by every operator of this kind.
func TestIdle(t *testing.T) {
	p := machines(t)
	ctx := testContext(t, 5*time.Minute)
	setAuditInterval(ctx, t, p.Scenario, noAudits)
	defer setAuditInterval(ctx, t, p.Scenario, 0)
	// Pending work is completed first.
	writes := func(since time.Time) (out []string) {
		calls, err := p.Calls(since)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range calls {
			if isWrite(c) && c.ObjectRef.Resource != "leases" {
				out = append(out, c.Verb+" "+c.ObjectRef.Resource+" "+c.ObjectRef.Name)
			}
		}
		return out
	}
	await(ctx, t, "ten seconds without a write", func() bool { return len(writes(time.Now().Add(-10*time.Second))) == 0 })
	begin := time.Now()
	select {
	case <-time.After(idle):
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	seen := writes(begin)
	t.Logf("%s with three machines and nothing to do: %d writes besides leases", idle, len(seen))
	if len(seen) > 0 {
		t.Errorf("the operator wrote: %s", strings.Join(seen, ", "))
	}
}

func isWrite(c cluster.Call) bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, c.Verb)
}

// await polls five times a second.
func await(ctx context.Context, t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, ctx.Err())
		case <-tick.C:
		}
	}
}
