// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
)

// goal is how long the rules may take from the launcher pod's sandbox on.
const goal = 2 * time.Second

// TestSandboxToProgrammed restarts the guest and measures, by looking 50 times
// a second, the time from the sandbox of the new launcher pod, which has an
// address, to the operator's word that its rules were read back from the
// kernel. It is a figure more than a check: only three times the goal fails.
func TestSandboxToProgrammed(t *testing.T) {
	s := start(t)
	pod, _ := ready(t, s)
	ctx := testContext(t, 5*time.Minute)
	if err := s.Delete(ctx, vmi()); err != nil {
		t.Fatal(err)
	}
	var sandbox, programmed time.Time
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for programmed.IsZero() {
		select {
		case <-ctx.Done():
			t.Fatalf("no new pod was programmed: %v", ctx.Err())
		case <-tick.C:
		}
		if sandbox.IsZero() {
			if hasSandbox(ctx, t, s, pod) {
				sandbox = time.Now()
			}
			continue
		}
		if isProgrammed(ctx, t, s, pod) {
			programmed = time.Now()
		}
	}
	took := programmed.Sub(sandbox)
	t.Logf("from the launcher pod's sandbox to Programmed: %.2f s (goal %.0f s)", took.Seconds(), goal.Seconds())
	if took > 3*goal {
		t.Errorf("%s is far from the goal of %s", took, goal)
	}
}

// vmi is the running machine; KubeVirt makes it again when it is deleted.
func vmi() client.Object {
	u := object("VirtualMachineInstance", scenario.Name)
	u.SetAPIVersion("kubevirt.io/v1")
	return u
}

// hasSandbox shows whether a launcher pod other than old has its sandbox.
func hasSandbox(ctx context.Context, t *testing.T, s *scenario.Scenario, old *corev1.Pod) bool {
	t.Helper()
	var pods corev1.PodList
	err := s.List(ctx, &pods, client.InNamespace(scenario.Namespace), client.MatchingLabels{"kubevirt.io": "virt-launcher"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if p.UID == old.UID {
			continue
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue {
				return true
			}
		}
	}
	return false
}

// isProgrammed shows whether the operator reports it of a pod other than old.
func isProgrammed(ctx context.Context, t *testing.T, s *scenario.Scenario, old *corev1.Pod) bool {
	t.Helper()
	m, err := s.MeshedVirtualMachine(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Status.Pods {
		if p.UID != old.UID && p.Programmed == metav1.ConditionTrue {
			return true
		}
	}
	return false
}
