// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// foreignGuest creates a VirtualMachine of a user that has the name of the
// MeshedVirtualMachine, and starts its guest.
func (s *suite) foreignGuest(o *v1alpha1.MeshedVirtualMachine) *corev1.Pod {
	s.Helper()
	vm := &kubevirtv1.VirtualMachine{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: o.Name},
		Spec:       kubevirtv1.VirtualMachineSpec{RunStrategy: new(kubevirtv1.RunStrategyAlways), Template: o.Spec.VirtualMachine.Template.DeepCopy()},
	}
	if err := s.Create(s.Context(), vm); err != nil {
		s.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-a")
	return pod
}

// noRules checks that the operator has handled all events, and that no pod has rules or
// is reported as a pod of the MeshedVirtualMachine.
func (s *suite) noRules(name string) {
	s.Helper()
	s.quiet()
	var nats v1alpha1.PodNATConfigurationList
	if err := s.List(s.Context(), &nats, client.InNamespace(s.namespace)); err != nil {
		s.Fatal(err)
	}
	if len(nats.Items) != 0 {
		s.Errorf("the guest's pod has the PodNATConfiguration %s", nats.Items[0].Name)
	}
	if pods := s.mvm(name).Status.Pods; len(pods) != 0 {
		s.Errorf("the status contains the pods %+v", pods)
	}
}

// TestGuestOfForeignVirtualMachine creates a MeshedVirtualMachine with the name of a
// VirtualMachine of a user whose guest runs. The guest gets no rules until the user
// lets the MeshedVirtualMachine take over the VirtualMachine.
func TestGuestOfForeignVirtualMachine(t *testing.T) {
	conflict := want{v1alpha1.ConditionConflicted, yes, v1alpha1.ReasonConflict}
	bridge := func(o *v1alpha1.MeshedVirtualMachine) {
		t := &o.Spec.VirtualMachine.Template.Spec
		t.Networks = []kubevirtv1.Network{*kubevirtv1.DefaultPodNetwork()}
		t.Domain.Devices.Interfaces = []kubevirtv1.Interface{*kubevirtv1.DefaultBridgeNetworkInterface()}
	}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.MeshedVirtualMachine)
		want   want
	}{
		"accepted": {func(*v1alpha1.MeshedVirtualMachine) {}, conflict},
		"paused": {func(o *v1alpha1.MeshedVirtualMachine) {
			o.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
		}, conflict},
		"spec not accepted": {bridge, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonBridgeBinding}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			o := s.web()
			s.foreignGuest(o)
			tc.change(o)
			before := s.awaitVM(o.Name)
			if err := s.Create(s.Context(), o); err != nil {
				t.Fatal(err)
			}
			s.awaitMVM(o.Name, tc.want, want{v1alpha1.ConditionReady, no, ""})
			s.noRules(o.Name)
			if after := s.awaitVM(o.Name); after.ResourceVersion != before.ResourceVersion {
				t.Error("the VirtualMachine was changed")
			}
		})
	}
	t.Run("taken over", func(t *testing.T) {
		s := start(t)
		o := s.web()
		pod := s.foreignGuest(o)
		if err := s.Create(s.Context(), o); err != nil {
			t.Fatal(err)
		}
		s.awaitMVM(o.Name, conflict)
		s.noRules(o.Name)
		s.editVM(o.Name, "kubectl", func(vm *kubevirtv1.VirtualMachine) {
			vm.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelMeshedVirtualMachine: o.Name}
		})
		s.runWriter(s.awaitNAT(pod).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
		s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed})
		s.eventually("the MeshedVirtualMachine controls its children", func() error { return s.allOwned(o.Name) })
		// The labels of the guest, and therefore those of its pods, are older.
		got := s.awaitMVM(o.Name, want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonPodLabelsChanged})
		message := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionMeshPolicyEffective)).Message
		if !strings.Contains(message, "restart the guest") || strings.Contains(message, "kubectl") {
			t.Errorf("the message does not only recommend a restart: %s", message)
		}
		if err := s.Delete(s.Context(), &kubevirtv1.VirtualMachineInstance{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: o.Name}}); err != nil {
			t.Fatal(err)
		}
		s.end(pod)
		s.eventually("the guest is deleted", func() error {
			return gone(s.Get(s.Context(), client.ObjectKeyFromObject(o), &kubevirtv1.VirtualMachineInstance{}))
		})
		_, pod = s.startGuest(o.Name, "node-a")
		s.runWriter(s.awaitNAT(pod).UID, ruleio.OperationApply, ruleio.OutcomeApplied)
		s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	})
}

// TestDisownedGuestKeepsRules removes the owner reference and the labels of the
// VirtualMachine while its guest runs. The rules of the pod stay.
func TestDisownedGuestKeepsRules(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	s.editVM(o.Name, "kubectl", func(vm *kubevirtv1.VirtualMachine) { vm.Labels, vm.OwnerReferences = nil, nil })
	s.awaitMVM(o.Name, want{v1alpha1.ConditionConflicted, yes, v1alpha1.ReasonConflict})
	s.quiet()
	if live := s.awaitNAT(pod); live.UID != nat.UID || !live.DeletionTimestamp.IsZero() {
		t.Error("the PodNATConfiguration of a running pod was deleted")
	}
	if pods := s.mvm(o.Name).Status.Pods; len(pods) != 1 || pods[0].UID != pod.UID {
		t.Errorf("the status contains the pods %+v", pods)
	}
}
