// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestDeletionIsReported deletes an object in the foreground, as Argo CD does, while
// KubeVirt has not shut down the guest, and an object that another controller holds.
func TestDeletionIsReported(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	const kubevirt = "kubevirt.io/virtualMachineControllerFinalize"
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) { vm.Finalizers = []string{kubevirt} })
	if err := s.Delete(s.Context(), s.mvm(o.Name), client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	s.awaitTermination(o.Name, "VirtualMachine web (finalizers "+kubevirt+")")
	// The garbage collector deletes the Service while the VirtualMachine still exists.
	s.eventually("the status has no addresses", func() error {
		if a := s.mvm(o.Name).Status.Addresses; len(a) > 0 {
			return fmt.Errorf("addresses %v", a)
		}
		return nil
	})

	s.end(pod)
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) { vm.Finalizers = nil })
	s.awaitAbsent(o)

	held := s.web()
	held.Name = "held"
	held.Finalizers = []string{"example.com/hold"}
	if err := s.Create(s.Context(), held); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(held.Name, want{v1alpha1.ConditionReconciling, yes, ""})
	if err := s.Delete(s.Context(), held); err != nil {
		t.Fatal(err)
	}
	s.awaitTermination(held.Name, "the controllers of its finalizers example.com/hold")
	s.letGo(held)
}

// letGo removes the finalizers of an object that is being deleted.
func (s *suite) letGo(o *v1alpha1.MeshedVirtualMachine) {
	s.Helper()
	before := s.mvm(o.Name)
	after := before.DeepCopy()
	after.Finalizers = nil
	if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
		s.Fatal(err)
	}
	s.awaitAbsent(o)
}

// awaitTermination waits until an object that is being deleted is not Ready, names what
// its deletion waits for, and claims nothing about its policies and rules. awaitMVM checks kstatus.
func (s *suite) awaitTermination(name, message string) {
	s.Helper()
	s.eventually("the deletion waits for "+message, func() error {
		c := meta.FindStatusCondition(s.mvm(name).Status.Conditions, string(v1alpha1.ConditionReady))
		if c == nil {
			return errors.New("the object has no condition")
		}
		if !strings.Contains(c.Message, message) {
			return fmt.Errorf("%s/%s: %s", c.Status, c.Reason, c.Message)
		}
		return nil
	})
	o := s.awaitMVM(name,
		want{v1alpha1.ConditionReady, no, v1alpha1.ReasonTerminating},
		want{v1alpha1.ConditionMeshPolicyApplied, unknown, v1alpha1.ReasonPending},
		want{v1alpha1.ConditionNATProgrammed, unknown, v1alpha1.ReasonPending},
	)
	if mode := o.Status.MTLS.EffectiveMode; mode != v1alpha1.MTLSModeDisable {
		s.Errorf("the effective mTLS mode is %s, want Disable", mode)
	}
	for _, c := range o.Status.Conditions {
		if c.Type == string(v1alpha1.ConditionReconciling) || c.Type == string(v1alpha1.ConditionStalled) {
			s.Errorf("%s is present: %s", c.Type, c.Message)
		}
	}
}

func (s *suite) awaitAbsent(o *v1alpha1.MeshedVirtualMachine) {
	s.Helper()
	s.eventually(o.Name+" is deleted", func() error {
		err := s.Get(s.Context(), client.ObjectKeyFromObject(o), o.DeepCopy())
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it exists"))
	})
}
