// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hidePod creates a guest and removes the label by which the operator's cache selects its
// pod.
func (s *suite) hidePod() (*v1alpha1.MeshedVirtualMachine, *corev1.Pod, *v1alpha1.PodNATConfiguration) {
	s.Helper()
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	s.relabel(pod, func(l map[string]string) { delete(l, kubevirtv1.AppLabel) })
	s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonPodLabelsChanged})
	return o, pod, nat
}

// TestOrphanOfHiddenPod deletes a MeshedVirtualMachine without its children. A user has
// removed the label by which the operator's cache selects the pod. The
// PodNATConfiguration of the running pod stays.
func TestOrphanOfHiddenPod(t *testing.T) {
	s := start(t)
	o, pod, nat := s.hidePod()
	s.orphan(o)
	s.eventually("the PodNATConfiguration has no controller", func() error {
		if refs := s.onlyNAT().OwnerReferences; len(refs) > 0 {
			return fmt.Errorf("it has the owners %v", refs)
		}
		return nil
	})
	s.restart() // The operator examines every object.
	s.quiet()
	if live := s.onlyNAT(); live.UID != nat.UID || !live.DeletionTimestamp.IsZero() {
		t.Error("the PodNATConfiguration of a running pod was deleted")
	}
	// A pod that does not exist any more has no leftover.
	s.end(pod)
	s.restart()
	s.eventually("the PodNATConfiguration is deleted", func() error {
		return gone(s.Get(s.Context(), client.ObjectKeyFromObject(nat), &v1alpha1.PodNATConfiguration{}))
	})
}

// TestDeletedRulesOfHiddenPod deletes the PodNATConfiguration of a hidden pod. A Job
// removes the rules from the running pod before the finalizer is removed, and then the
// operator creates the PodNATConfiguration again, as for a pod that is not hidden.
func TestDeletedRulesOfHiddenPod(t *testing.T) {
	s := start(t)
	o, pod, nat := s.hidePod()
	if err := s.Delete(s.Context(), nat); err != nil {
		t.Fatal(err)
	}
	request := s.runWriter(nat.UID, ruleio.OperationRemove, ruleio.OutcomeRemoved)
	if got := request.Targets[0].PodUID; got != string(pod.UID) {
		t.Errorf("the rules of pod %s are removed, want %s", got, pod.UID)
	}
	again := &v1alpha1.PodNATConfiguration{}
	s.eventually("another PodNATConfiguration exists", func() error {
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(nat), again); err != nil {
			return err
		}
		if again.UID == nat.UID {
			return errors.New("the earlier one still exists")
		}
		return nil
	})
	s.runWriter(again.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed})
}

// TestHiddenPodIsAudited checks that the status of a hidden pod remains true: the pod is
// reported as found, its rules are audited, lost rules are reported in the metrics, and
// they are repaired.
func TestHiddenPodIsAudited(t *testing.T) {
	s := start(t, every(time.Second))
	o, pod, nat := s.hidePod()
	kernel := s.answerAudits()
	// Nothing changes until an audit reads the rules of the pod.
	s.awaitCounters(pod, 0)
	got := s.awaitNAT(pod, want{v1alpha1.ConditionTargetResolved, yes, v1alpha1.ReasonResolved}, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if c := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionTargetResolved)); !strings.Contains(c.Message, "label") {
		t.Errorf("the message does not name the label: %s", c.Message)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed})
	kernel.become("the table is missing", ruleio.Counters{})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonDrifted})
	s.repair(kernel, nat.UID, ruleio.Counters{})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed})
}

// TestPodWithoutOwnerKeepsRules removes the owner reference of a virt-launcher pod, as a
// user with the role "edit" can. The rules of the running pod stay, and the status reports
// the pod.
func TestPodWithoutOwnerKeepsRules(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	before := &corev1.Pod{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(pod), before); err != nil {
		t.Fatal(err)
	}
	after := before.DeepCopy()
	after.OwnerReferences = nil
	if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonNotALauncherPod})
	s.quiet()
	if live := s.onlyNAT(); live.UID != nat.UID || !live.DeletionTimestamp.IsZero() {
		t.Error("the PodNATConfiguration of a running pod was deleted")
	}
	if n := len(s.jobs(nat.UID)); n != 0 {
		t.Errorf("%d Jobs run for a pod without an owner", n)
	}
}

// TestDeletedGuestOfHiddenPod deletes the MeshedVirtualMachine of a hidden pod. The rules
// stay until the pod ends.
func TestDeletedGuestOfHiddenPod(t *testing.T) {
	s := start(t)
	o, pod, nat := s.hidePod()
	if err := s.Delete(s.Context(), s.mvm(o.Name)); err != nil {
		t.Fatal(err)
	}
	s.quiet()                                                                 // The cache no longer contains the MeshedVirtualMachine.
	if err := s.Delete(s.Context(), nat); client.IgnoreNotFound(err) != nil { // As the garbage collector does.
		t.Fatal(err)
	}
	s.quiet()
	if live := s.onlyNAT(); live.UID != nat.UID || len(live.Finalizers) == 0 {
		t.Errorf("the PodNATConfiguration of a running pod has the finalizers %v", live.Finalizers)
	}
	if n := len(s.jobs(nat.UID)); n != 0 {
		t.Errorf("%d Jobs run for a guest that is deleted", n)
	}
	s.end(pod)
	s.restart() // No watch reports the end of the pod.
	s.eventually("the PodNATConfiguration is deleted", func() error {
		return gone(s.Get(s.Context(), client.ObjectKeyFromObject(nat), &v1alpha1.PodNATConfiguration{}))
	})
}
