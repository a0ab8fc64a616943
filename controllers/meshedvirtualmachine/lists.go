// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/sharedlists"
)

// mergeLists merges the lists of the VirtualMachine with those of the live one, keeps
// what KubeVirt inferred from its volumes and a run strategy that the spec leaves out,
// and leaves the result in the scope. It implements apply.MergeFunc.
func (s *scope) mergeLists(want, live *unstructured.Unstructured) *unstructured.Unstructured {
	if apply.KeyOf(want).Kind != children.VirtualMachineKind.GroupKind() {
		return nil
	}
	busy := ""
	if live != nil {
		busy = sharedlists.Busy(live, s.vmi)
	}
	s.lists = sharedlists.Merge(want, live, busy)
	children.KeepInferred(s.lists.Object, live)
	children.KeepRunStrategy(s.lists.Object, live)
	return s.lists.Object
}

// noteDelay records that the lists of the VirtualMachine are not changed until an
// operation of KubeVirt completes. A watch reports the end of the operation.
func (s *scope) noteDelay() {
	key := vmKey(s.mvm.Name)
	if vm := s.children[key]; vm != nil && s.failures[key] == nil && s.lists.Delayed != "" {
		s.failures[key] = fmt.Errorf("%s %w: its volumes, disks and interfaces are not changed until %s completes", apply.Describe(vm), apply.ErrDiffers, s.lists.Delayed)
	}
}

// gatherManagers reads the managed fields of the VirtualMachine, which the cache does
// not contain, while its lists differ from the spec.
func (r *Reconciler) gatherManagers(ctx context.Context, s *scope) error {
	vm := s.children[vmKey(s.mvm.Name)]
	if vm == nil || len(s.lists.Differences) == 0 || errors.Is(s.failures[vmKey(s.mvm.Name)], apply.ErrTerminating) {
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

func vmKey(name string) apply.Key {
	return apply.Key{Kind: children.VirtualMachineKind.GroupKind(), Name: name}
}

// adjusted returns the message about list entries that other clients changed
// and that the operator keeps, or an empty string.
func (s *scope) adjusted() string {
	if len(s.lists.Differences) == 0 || s.vm == nil {
		return ""
	}
	return "other clients changed the VirtualMachine, and the operator keeps these changes: " +
		sharedlists.Describe(s.lists.Differences, s.managed) +
		"; to make them permanent, change spec.virtualMachine in the same way; to undo them, change the VirtualMachine (virtctl removevolume, kubectl edit vm " + s.mvm.Name + ")"
}
