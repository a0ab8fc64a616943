// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/sharedlists"
)

// mergeLists merges the lists of the VirtualMachine with those of the live one, keeps
// what KubeVirt inferred from its volumes, the fields with which it replaced an
// instancetype and a run strategy that the spec leaves out,
// and leaves the result in the scope. It implements apply.MergeFunc.
//
// The managed fields of the VirtualMachine show that no other client changed a list
// since the operator wrote it, but not whether the operator wrote entries of others into
// it. The condition VirtualMachineAdjusted shows that it did.
func (s *scope) mergeLists(want, live *unstructured.Unstructured) *unstructured.Unstructured {
	if apply.KeyOf(want).Kind != children.VirtualMachineKind.GroupKind() {
		return nil
	}
	busy, evidence := "", live
	if live != nil {
		busy = sharedlists.Busy(live, s.vmi)
		if meta.FindStatusCondition(s.before.Status.Conditions, string(v1alpha1.ConditionVirtualMachineAdjusted)) != nil {
			evidence = live.DeepCopy()
			evidence.SetManagedFields(nil)
		}
	}
	s.lists = sharedlists.Merge(want, evidence, busy)
	children.KeepInferred(s.lists.Object, live)
	children.KeepExpanded(s.lists.Object, live)
	children.KeepRunStrategy(s.lists.Object, live)
	return s.lists.Object
}

// noteDelay records that the lists of the VirtualMachine are not changed until an
// operation of KubeVirt completes. A watch reports the end of the operation.
func (s *scope) noteDelay() {
	key := vmKey(s.mvm)
	if vm := s.children[key]; vm != nil && s.failures[key] == nil && s.lists.Delayed != "" {
		s.failures[key] = fmt.Errorf("%s %w: its volumes, disks and interfaces are not changed until %s completes", apply.Describe(vm), apply.ErrDiffers, s.lists.Delayed)
	}
}

// gatherDifferences compares the lists of the VirtualMachine with the record of the
// spec that was applied last, so that the result does not depend on whether the present
// spec is accepted. It reads the managed fields, which the cache does not contain, if
// they differ.
func (r *Reconciler) gatherDifferences(ctx context.Context, s *scope) error {
	vm := s.children[vmKey(s.mvm)]
	if vm == nil {
		return nil
	}
	s.differences = sharedlists.Differences(vm)
	if len(s.differences) == 0 || errors.Is(s.failures[vmKey(s.mvm)], apply.ErrTerminating) {
		return nil
	}
	live := &metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(children.VirtualMachineKind)
	err := r.Applier.Reader.Get(ctx, client.ObjectKeyFromObject(vm), live)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read the field managers of %s: %w", apply.Describe(vm), err)
	}
	s.managed = live.ManagedFields
	return nil
}

func vmKey(mvm *v1alpha1.MeshedVirtualMachine) apply.Key {
	return apply.Key{Kind: children.VirtualMachineKind.GroupKind(), Name: mvm.VirtualMachineName()}
}

// maxDifferences is the number of differences that a message names.
const maxDifferences = 6

// adjusted returns the condition about list entries that other clients changed and that
// the operator keeps, and whether it is present.
func (s *scope) adjusted() (conditions.Condition, bool) {
	const t = v1alpha1.ConditionVirtualMachineAdjusted
	if len(s.differences) == 0 || s.vm == nil {
		return conditions.Condition{}, false
	}
	return conditions.True(t, v1alpha1.ReasonForeignEntries, "other clients changed the VirtualMachine, and the operator keeps these changes: "+
		conditions.Enumerate(s.differences, maxDifferences, "; ", func(d sharedlists.Difference) string { return d.Describe(s.managed) })+
		"; to make them permanent, change spec.virtualMachine in the same way; to undo them, change the VirtualMachine (virtctl addvolume or removevolume, kubectl edit vm "+s.mvm.VirtualMachineName()+")"), true
}
