// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/startgate"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kept returns a guest whose VirtualMachine remains.
func (s *suite) kept() *v1alpha1.MeshedVirtualMachine {
	o := s.web()
	o.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan
	return o
}

// awaitDeletionPolicy waits until a deletion policy is in effect.
func (s *suite) awaitDeletionPolicy(name string, orphan bool) {
	s.Helper()
	s.eventually(fmt.Sprintf("the VirtualMachine has no owner and the object a finalizer: %t", orphan), func() error {
		o, refs := s.mvm(name), s.awaitVM(name).OwnerReferences
		if (len(refs) == 0) != orphan || slices.Contains(o.Finalizers, v1alpha1.FinalizerOrphan) != orphan {
			return fmt.Errorf("owners %v, finalizers %v", refs, o.Finalizers)
		}
		return nil
	})
}

// awaitReleased waits until a deleted object and its other children do not exist, and
// checks its VirtualMachine.
func (s *suite) awaitReleased(o *v1alpha1.MeshedVirtualMachine, vm *kubevirtv1.VirtualMachine) {
	s.Helper()
	s.awaitAbsent(o)
	for _, kind := range singletons {
		if kind == children.VirtualMachineKind {
			continue
		}
		s.eventually(kind.Kind+" is deleted", func() error {
			_, err := s.read(kind, o.Name)
			return gone(err)
		})
	}
	got := s.awaitVM(o.Name)
	if got.UID != vm.UID || !got.DeletionTimestamp.IsZero() || len(got.OwnerReferences) > 0 {
		s.Errorf("the VirtualMachine has UID %s, before %s, owners %v, and is being deleted: %t", got.UID, vm.UID, got.OwnerReferences, !got.DeletionTimestamp.IsZero())
	}
	for what, metadata := range map[string]map[string]string{
		"labels": got.Labels, "annotations": got.Annotations,
		"labels of the template": got.Spec.Template.ObjectMeta.Labels, "annotations of the template": got.Spec.Template.ObjectMeta.Annotations,
	} {
		for key, value := range metadata {
			if strings.HasPrefix(key, "meshvm.io/") || value == v1alpha1.ManagedByValue {
				s.Errorf("the %s of the VirtualMachine contain %s=%s", what, key, value)
			}
		}
	}
	for _, m := range got.ManagedFields {
		if m.Manager == v1alpha1.FieldOwner {
			s.Errorf("the operator is a field manager of the VirtualMachine: %s", m.FieldsV1.GetRawBytes())
		}
	}
	if version := got.Spec.Template.ObjectMeta.Labels[v1alpha1.LabelVersion]; version != "v1" {
		s.Errorf("the label version of the template is %q", version)
	}
	before, after := vm.Spec.DeepCopy(), got.Spec.DeepCopy()
	before.Template.ObjectMeta.Labels, after.Template.ObjectMeta.Labels = nil, nil
	if diff := cmp.Diff(before, after); diff != "" {
		s.Errorf("the spec of the VirtualMachine changed:\n%s", diff)
	}
}

// TestOrphan deletes an object that keeps its VirtualMachine, in every way. The rules are
// removed from the running guest before the object disappears.
func TestOrphan(t *testing.T) {
	for _, how := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		t.Run(string(how), func(t *testing.T) {
			s := start(t)
			o := s.kept()
			pod := s.converge(o)
			s.awaitDeletionPolicy(o.Name, true)
			vm, nat := s.awaitVM(o.Name), s.awaitNAT(pod)
			s.eventually("status.relatedObjects contains every object", func() error {
				if n := len(s.mvm(o.Name).Status.RelatedObjects); n != len(singletons)+1 {
					return fmt.Errorf("it has %d", n)
				}
				return nil
			})
			if err := s.Delete(s.Context(), s.mvm(o.Name), client.PropagationPolicy(how)); err != nil {
				t.Fatal(err)
			}
			s.writer(nat.UID, ruleio.OperationRemove)
			s.awaitTermination(o.Name, "the removal of the rules from the pods of the guest")
			s.runWriter(nat.UID, ruleio.OperationRemove, ruleio.OutcomeRemoved)
			s.awaitReleased(o, vm)
			if err := s.Get(s.Context(), client.ObjectKeyFromObject(pod), pod); err != nil || !pod.DeletionTimestamp.IsZero() {
				t.Errorf("the pod does not run any more: %v", err)
			}
		})
	}
}

// TestOrphanOfSharedService deletes the lead of a shared Service, which keeps its
// VirtualMachine. The other member takes the objects of the Service over.
func TestOrphanOfSharedService(t *testing.T) {
	for _, how := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationOrphan} {
		t.Run(string(how), func(t *testing.T) {
			s := start(t)
			for _, o := range []*v1alpha1.MeshedVirtualMachine{s.kept(), s.sharing("web-b", "v2", 10)} {
				if err := s.Create(s.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			s.awaitDeletionPolicy("web", true)
			uids := s.awaitOwners("web", "web-b")
			lead := s.mvm("web")
			if err := s.Delete(s.Context(), lead, client.PropagationPolicy(how)); err != nil {
				t.Fatal(err)
			}
			s.awaitAbsent(lead)
			if got := s.awaitOwners("web-b"); !slices.Equal(got, uids) {
				t.Errorf("the objects were replaced: %q, %q", uids, got)
			}
		})
	}
}

// TestOrphanOfLeadWithRejectedMember deletes the lead of a Service, which keeps its
// VirtualMachine, while the other member is not accepted and not an owner of the objects of the
// Service. They are deleted, and the member creates them when it is accepted.
func TestOrphanOfLeadWithRejectedMember(t *testing.T) {
	s := start(t)
	if err := s.Create(s.Context(), s.kept()); err != nil {
		t.Fatal(err)
	}
	s.awaitDeletionPolicy("web", true)
	uids := s.awaitOwners("web")
	member := s.sharing("web-b", "v2", 10)
	member.Spec.VirtualMachine.Template.ObjectMeta.Labels = map[string]string{v1alpha1.LabelVersion: "another"}
	if err := s.Create(s.Context(), member); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM("web-b", want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonInvalidSpec})
	lead := s.mvm("web")
	if err := s.Delete(s.Context(), lead, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		t.Fatal(err)
	}
	s.awaitAbsent(lead)
	for _, kind := range ofService {
		s.gone(kind, "web")
	}
	s.edit("web-b", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.VirtualMachine.Template.ObjectMeta.Labels = nil })
	s.awaitMVM("web-b", want{v1alpha1.ConditionServiceReady, yes, v1alpha1.ReasonApplied})
	for i, uid := range s.awaitOwners("web-b") {
		if uid == uids[i] {
			t.Errorf("%s was not deleted", ofService[i].Kind)
		}
	}
}

// TestOrphanBehindGate deletes an object that keeps its VirtualMachine while the guest
// waits for its rules. The deletion ends when the rules have opened the gate, or when the
// user has restarted the guest.
func TestOrphanBehindGate(t *testing.T) {
	s := start(t)
	s.serveGate()
	for name, how := range map[string]metav1.DeletionPropagation{
		"opened": metav1.DeletePropagationForeground, "restarted": metav1.DeletePropagationBackground,
	} {
		o := s.kept()
		o.Name = name
		if err := s.Create(s.Context(), o); err != nil {
			t.Fatal(err)
		}
		_, pod := s.startGuest(name, "node-a")
		if !startgate.HasGate(pod) {
			t.Fatal("the pod has no gate")
		}
		s.gateIs(pod, false)
		s.awaitDeletionPolicy(name, true)
		nat := s.awaitNAT(pod)
		s.writer(nat.UID, ruleio.OperationApply)
		vm := s.awaitVM(name)
		if err := s.Delete(s.Context(), s.mvm(name), client.PropagationPolicy(how)); err != nil {
			t.Fatal(err)
		}
		s.awaitTermination(name, "virtctl -n "+s.namespace+" restart "+name)
		if name == "opened" {
			s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
			s.eventually("the rules are verified", func() error {
				return conditionIs(s.awaitNAT(pod).Status.Conditions, v1alpha1.ConditionProgrammed)
			})
			s.gateIs(pod, true)
			s.runWriter(nat.UID, ruleio.OperationRemove, ruleio.OutcomeRemoved)
		} else {
			s.end(pod)
		}
		s.awaitReleased(o, vm)
	}
}

// TestOrphanStartedPaused deletes an object that keeps its VirtualMachine while the guest,
// which starts paused, waits for its rules.
func TestOrphanStartedPaused(t *testing.T) {
	guests := &released{}
	s := start(t, func(o *controllers.Options) { o.StartGate, o.Unpauser = children.StartGatePause, guests })
	o := s.kept()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	vmi, pod := s.startGuest(o.Name, "node-a")
	before := vmi.DeepCopy()
	vmi.Status.Conditions = []kubevirtv1.VirtualMachineInstanceCondition{{Type: kubevirtv1.VirtualMachineInstancePaused, Status: corev1.ConditionTrue}}
	if err := s.Patch(s.Context(), vmi, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	s.awaitDeletionPolicy(o.Name, true)
	s.awaitStart(o.Name, pod, v1alpha1.PodStartHeld)
	nat := s.awaitNAT(pod)
	writer, _ := s.writer(nat.UID, ruleio.OperationApply)
	if n := guests.count(); n != 0 {
		t.Errorf("the guest was unpaused %d times before its rules were verified", n)
	}
	if err := s.Delete(s.Context(), s.mvm(o.Name)); err != nil {
		t.Fatal(err)
	}
	s.awaitNoJobs(nat)
	s.end(writer) // As the kubelet does.
	s.runWriter(nat.UID, ruleio.OperationRemove, ruleio.OutcomeRemoved)
	s.awaitAbsent(o)
	if n := guests.count(); n != 1 {
		t.Errorf("the guest was unpaused %d times", n)
	}
	if vm := s.awaitVM(o.Name); vm.Spec.Template.Spec.StartStrategy != nil {
		t.Errorf("the next start of the guest has the strategy %s", *vm.Spec.Template.Spec.StartStrategy)
	}
}

// conditionIs returns an error unless a condition is True.
func conditionIs(all []metav1.Condition, t v1alpha1.ConditionType) error {
	if !meta.IsStatusConditionTrue(all, string(t)) {
		return errors.New(string(t) + " is not True")
	}
	return nil
}

// TestOrphanWithFailedWrites breaks each of the operator's writes of a deletion in turn,
// after it was committed. This is also the state before the next write.
func TestOrphanWithFailedWrites(t *testing.T) {
	s := start(t)
	released := func(f *fault) (writes int) {
		o := s.kept()
		if err := s.Create(s.Context(), o); err != nil {
			t.Fatal(err)
		}
		s.awaitDeletionPolicy(o.Name, true)
		vm := s.awaitVM(o.Name)
		s.quiet()
		s.calls.reset(f)
		if err := s.Delete(s.Context(), s.mvm(o.Name)); err != nil {
			t.Fatal(err)
		}
		s.awaitReleased(o, vm)
		writes = s.calls.writeCount()
		s.calls.reset(nil)
		if err := s.Delete(s.Context(), vm); err != nil {
			t.Fatal(err)
		}
		s.eventually("the VirtualMachine is deleted", func() error {
			_, err := s.read(children.VirtualMachineKind, o.Name)
			return gone(err)
		})
		return writes
	}
	writes := released(nil)
	for at := 1; at <= writes; at++ {
		released(&fault{at: at, committed: true})
	}
}

// TestOrphanWithoutOperator deletes an object that keeps its VirtualMachine while no
// operator runs, after an edit of the policy that is not in effect yet. The garbage
// collector deletes the other children, and the next operator ends the deletion.
func TestOrphanWithoutOperator(t *testing.T) {
	s := start(t)
	o := s.kept()
	pod := s.converge(o)
	s.awaitDeletionPolicy(o.Name, true)
	vm, nat := s.awaitVM(o.Name), s.awaitNAT(pod)
	s.stop()
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.DeletionPolicy = v1alpha1.DeletionPolicyDelete })
	if err := s.Delete(s.Context(), s.mvm(o.Name), client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	s.eventually("the Service is deleted", func() error {
		_, err := s.read(children.ServiceKind, o.Name)
		return gone(err)
	})
	if live := s.mvm(o.Name); !slices.Contains(live.Finalizers, v1alpha1.FinalizerOrphan) {
		t.Errorf("finalizers %v", live.Finalizers)
	}
	s.run(nil)
	s.runWriter(nat.UID, ruleio.OperationRemove, ruleio.OutcomeRemoved)
	s.awaitReleased(o, vm)
}

// TestDeletionPolicyChanges changes the policy of a running guest, also together with an
// invalid edit.
func TestDeletionPolicyChanges(t *testing.T) {
	s := start(t)
	o := s.web()
	s.converge(o)
	policy := func(p v1alpha1.DeletionPolicy, labels map[string]string) {
		s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
			spec.DeletionPolicy, spec.VirtualMachine.Template.ObjectMeta.Labels = p, labels
		})
	}
	s.awaitDeletionPolicy(o.Name, false)
	policy(v1alpha1.DeletionPolicyOrphan, nil)
	s.awaitDeletionPolicy(o.Name, true)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	policy(v1alpha1.DeletionPolicyDelete, nil)
	s.awaitDeletionPolicy(o.Name, false)
	policy(v1alpha1.DeletionPolicyOrphan, map[string]string{v1alpha1.LabelVersion: "another"})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonInvalidSpec})
	s.awaitDeletionPolicy(o.Name, true)
	policy(v1alpha1.DeletionPolicyDelete, nil)
	s.awaitDeletionPolicy(o.Name, false)
	if err := s.Delete(s.Context(), s.mvm(o.Name)); err != nil {
		t.Fatal(err)
	}
	s.awaitAbsent(o)
	s.eventually("the VirtualMachine is deleted", func() error {
		_, err := s.read(children.VirtualMachineKind, o.Name)
		return gone(err)
	})
}

// TestKeptVirtualMachineIsNotTakenOver creates an object with the name of a kept
// VirtualMachine, which does not have the labels that permit it.
func TestKeptVirtualMachineIsNotTakenOver(t *testing.T) {
	s := start(t)
	o := s.kept()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.awaitDeletionPolicy(o.Name, true)
	vm := s.awaitVM(o.Name)
	if err := s.Delete(s.Context(), s.mvm(o.Name)); err != nil {
		t.Fatal(err)
	}
	s.awaitReleased(o, vm)
	again := s.web()
	if err := s.Create(s.Context(), again); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(again.Name, want{v1alpha1.ConditionConflicted, yes, v1alpha1.ReasonConflict})
	s.editVM(o.Name, "user", func(vm *kubevirtv1.VirtualMachine) {
		vm.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelMeshedVirtualMachine: o.Name}
	})
	s.awaitDeletionPolicy(again.Name, false)
	if got := s.awaitVM(o.Name); got.UID != vm.UID {
		t.Errorf("the VirtualMachine was replaced: UID %s, before %s", got.UID, vm.UID)
	}
}
