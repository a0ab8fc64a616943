// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestPodsOfRejectedSpec makes an edit that lets a port bypass the mesh and is
// also invalid. Pods that start afterwards get the rules of the previous spec,
// which the PeerAuthentication also reflects.
func TestPodsOfRejectedSpec(t *testing.T) {
	s := start(t)
	o := s.web()
	first := s.converge(o)
	before := s.awaitNAT(first)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Ports[0].Via, spec.Ports[0].AppProtocol = v1alpha1.PortViaDirect, ""
		spec.VirtualMachine.Template.ObjectMeta.Labels = map[string]string{v1alpha1.LabelVersion: "another"}
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonInvalidSpec})
	s.node("node-b", corev1.ConditionTrue)

	vmi := &kubevirtv1.VirtualMachineInstance{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), vmi); err != nil {
		t.Fatal(err)
	}
	next := s.launcher(vmi, "node-b")
	got := s.awaitNAT(next)
	if diff := cmp.Diff(before.Spec.Inbound, got.Spec.Inbound); diff != "" {
		t.Errorf("the new pod does not have the ports of the previous spec: %s", diff)
	}
	s.runWriter(got.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, metav1.ConditionUnknown, v1alpha1.ReasonPending})

	// The configuration of a deleted pod is also deleted.
	s.end(first)
	s.eventually("one PodNATConfiguration remains", func() error { return s.natsAre(next) })

	// After the last pod is deleted, its configuration contains the rules for
	// new pods.
	s.end(next)
	if err := s.Delete(s.Context(), vmi); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonNoPod})
	_, last := s.startGuest(o.Name, "node-b")
	if diff := cmp.Diff(before.Spec.Inbound, s.awaitNAT(last).Spec.Inbound); diff != "" {
		t.Errorf("the pod after a restart does not have the ports of the previous spec: %s", diff)
	}
	s.eventually("one PodNATConfiguration remains", func() error { return s.natsAre(last) })
}

// end removes a pod like a kubelet after its containers have exited, unless the garbage
// collector has removed it.
func (s *suite) end(pod *corev1.Pod) {
	s.Helper()
	if err := s.Delete(s.Context(), pod, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		s.Fatal(err)
	}
}

// natsAre checks that the only PodNATConfiguration belongs to the pod.
func (s *suite) natsAre(pod *corev1.Pod) error {
	var list v1alpha1.PodNATConfigurationList
	if err := s.List(s.Context(), &list, client.InNamespace(s.namespace)); err != nil {
		return err
	}
	if len(list.Items) != 1 || list.Items[0].Spec.Pod.UID != pod.UID {
		return fmt.Errorf("found %d", len(list.Items))
	}
	return nil
}

// TestConflictDoesNotKeepRulesOfDeletedPods checks that a child with another
// owner prevents pruning of objects of earlier specs, but not of objects of
// deleted pods.
func TestConflictDoesNotKeepRulesOfDeletedPods(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	vmi := &kubevirtv1.VirtualMachineInstance{}
	svc, err := s.read(singletons[0], o.Name)
	if err := errors.Join(err, s.Get(s.Context(), client.ObjectKeyFromObject(o), vmi)); err != nil {
		t.Fatal(err)
	}
	svc.SetOwnerReferences(nil)
	svc.SetLabels(nil) // Otherwise it would be adopted.
	if err := s.Update(s.Context(), svc); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(o.Name, want{v1alpha1.ConditionConflicted, yes, v1alpha1.ReasonConflict})
	next := s.launcher(vmi, "node-a")
	s.awaitNAT(next)
	s.end(pod)
	s.eventually("one PodNATConfiguration remains", func() error { return s.natsAre(next) })
}
