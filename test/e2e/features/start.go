// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/e2e/suite"
)

// goal is the time within which the rules should be verified after the sandbox of
// the virt-launcher pod exists.
const goal = 2 * time.Second

// start restarts the guest and measures the time from the sandbox of the new
// virt-launcher pod, when the pod has an address, until the operator reports that
// the rules in the kernel were verified. It polls 50 times a second. The time is
// printed. Only a time of ten times the goal is a failure, because the machine can be busy.
func start(t *suite.T) {
	t.Operator()
	s := t.Sample(t.Namespace("start"))
	ctx := t.Limit(5 * time.Minute)
	t.NoError(s.Delete(ctx, suite.KubeVirtObject("VirtualMachineInstance", s.SampleKey())))
	var sandbox, programmed time.Time
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for programmed.IsZero() {
		select {
		case <-ctx.Done():
			t.Fatalf("no new pod has verified rules: %v", ctx.Err())
		case <-tick.C:
		}
		if sandbox.IsZero() {
			if hasNewSandbox(ctx, t, s) {
				sandbox = time.Now()
			}
			continue
		}
		if isNewProgrammed(ctx, t, s) {
			programmed = time.Now()
		}
	}
	took := programmed.Sub(sandbox)
	t.Logf("from the virt-launcher pod's sandbox to Programmed: %.2f s (goal %.0f s)", took.Seconds(), goal.Seconds())
	if took > 10*goal {
		t.Errorf("%s is more than ten times the goal of %s", took, goal)
	}
}

// hasNewSandbox reports whether a virt-launcher pod other than the first one has
// its sandbox.
func hasNewSandbox(ctx context.Context, t *suite.T, s *suite.Sample) bool {
	t.Helper()
	var pods corev1.PodList
	t.NoError(s.List(ctx, &pods, client.InNamespace(s.SampleNamespace()), client.MatchingLabels{"kubevirt.io": "virt-launcher"}))
	for _, p := range pods.Items {
		if p.UID == s.Pod.UID {
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

// isNewProgrammed reports whether the operator has verified the rules of a pod
// other than the first one.
func isNewProgrammed(ctx context.Context, t *suite.T, s *suite.Sample) bool {
	t.Helper()
	m, err := s.MeshedVirtualMachine(ctx)
	t.NoError(err)
	for _, p := range m.Status.Pods {
		if p.UID != s.Pod.UID && p.Programmed == metav1.ConditionTrue {
			return true
		}
	}
	return false
}
