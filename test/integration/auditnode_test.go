// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAuditGroupsPodsOfNode audits more pods than one Job can report.
func TestAuditGroupsPodsOfNode(t *testing.T) {
	s := start(t, every(4*time.Second))
	const guests, each = 2, 5
	for i := range guests {
		o := s.web()
		o.Name = fmt.Sprintf("web-%d", i)
		if err := s.Create(s.Context(), o); err != nil {
			t.Fatal(err)
		}
		vmi, pod := s.startGuest(o.Name, "node-a")
		s.programmed(pod)
		for range each - 1 {
			s.programmed(s.launcher(vmi, "node-a"))
		}
	}
	kernel := s.answerAudits()
	s.eventually("two Jobs of one round audit all pods", func() error {
		kernel.mu.Lock()
		defer kernel.mu.Unlock()
		last := slices.Clone(kernel.sizes[max(0, len(kernel.sizes)-2):])
		slices.Sort(last)
		if !slices.Equal(last, []int{guests*each - rulejob.MaxAuditTargets, rulejob.MaxAuditTargets}) {
			return fmt.Errorf("the Jobs had %d targets", last)
		}
		return nil
	})
	// One pod drifts, and only this pod is repaired.
	var nats v1alpha1.PodNATConfigurationList
	if err := s.List(s.Context(), &nats, client.InNamespace(s.namespace)); err != nil {
		t.Fatal(err)
	}
	victim := nats.Items[len(nats.Items)-1]
	kernel.mu.Lock()
	kernel.only = string(victim.Spec.Pod.UID)
	kernel.mu.Unlock()
	kernel.become("the table is missing", ruleio.Counters{})
	s.repair(kernel, victim.UID, ruleio.Counters{})
	s.awaitAudits(kernel, 2)
	s.eventually("only one pod was repaired", func() error {
		if err := s.List(s.Context(), &nats, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		for i := range nats.Items {
			n := &nats.Items[i]
			wanted := int32(0)
			if n.UID == victim.UID {
				wanted = 1
			}
			if n.Status.Repairs.Count != wanted || n.Status.Applied.Repair != wanted {
				return fmt.Errorf("%s: %d repairs, %d done, want %d", n.Name, n.Status.Repairs.Count, n.Status.Applied.Repair, wanted)
			}
		}
		return nil
	})
}

// programmed waits until the rules of the pod are programmed.
func (s *suite) programmed(pod *corev1.Pod) {
	s.Helper()
	s.runWriter(s.awaitNAT(pod).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitNAT(pod, want{v1alpha1.ConditionProgrammed, yes, v1alpha1.ReasonProgrammed})
}

// TestTerminatedPodsAreNotAudited stops a guest between two audits.
func TestTerminatedPodsAreNotAudited(t *testing.T) {
	s := start(t, every(time.Second))
	o := s.web()
	pod := s.converge(o)
	kernel := s.answerAudits()
	s.awaitAudits(kernel, 1)
	s.podIs(pod, func(st *corev1.PodStatus) { st.Phase = corev1.PodSucceeded })
	s.vmIs(o.Name, func(st *kubevirtv1.VirtualMachineStatus) { st.Ready = false })
	// An audit that began before the end can still be answered.
	n, since := kernel.count(), time.Now()
	s.eventually("no audit happens for several intervals", func() error {
		if now := kernel.count(); now != n {
			n, since = now, time.Now()
		}
		if d := time.Since(since); d < 3*time.Second {
			return fmt.Errorf("audits happened %s ago", d)
		}
		return nil
	})
}
