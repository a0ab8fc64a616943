// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
)

// ensureFinalizer sets the finalizer before the VirtualMachine loses its owner reference.
func (r *Reconciler) ensureFinalizer(ctx context.Context, s *scope) error {
	if s.paused || !s.mvm.Spec.KeepsVirtualMachine() || controllerutil.ContainsFinalizer(s.mvm, v1alpha1.FinalizerOrphan) {
		return nil
	}
	return r.patchFinalizer(ctx, s, controllerutil.AddFinalizer)
}

// dropFinalizer removes the finalizer of an object that does not keep its VirtualMachine,
// after the VirtualMachine has its owner reference again.
func (r *Reconciler) dropFinalizer(ctx context.Context, s *scope) error {
	vm := s.child(children.VirtualMachineKind)
	if s.paused || s.mvm.Spec.KeepsVirtualMachine() || !controllerutil.ContainsFinalizer(s.mvm, v1alpha1.FinalizerOrphan) ||
		vm == nil || !metav1.IsControlledBy(vm, s.mvm) {
		return nil
	}
	return r.patchFinalizer(ctx, s, controllerutil.RemoveFinalizer)
}

func (r *Reconciler) patchFinalizer(ctx context.Context, s *scope, change func(client.Object, string) bool) error {
	changed := s.before.DeepCopy()
	change(changed, v1alpha1.FinalizerOrphan)
	patch := client.MergeFromWithOptions(s.before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, changed, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch finalizer: %w", err)
	}
	ctrl.LoggerFrom(ctx).Info("Patched finalizer", "finalizers", changed.Finalizers)
	// The status patch of this reconcile is computed against the object as it is stored
	// now.
	s.before = changed
	s.mvm.ObjectMeta = *changed.ObjectMeta.DeepCopy()
	return nil
}

// keeps reports whether an object is the VirtualMachine of an object with deletionPolicy
// Orphan. It has no owner reference.
func (s *scope) keeps(o *unstructured.Unstructured) bool {
	return (s.mvm.Spec.KeepsVirtualMachine() || s.mvm.ReleasesVirtualMachine()) &&
		apply.KeyOf(o) == vmKey(s.mvm) && !apply.IsForeign(o, s.mvm)
}

// disown removes the owner reference of the VirtualMachine while the spec is not accepted.
// Otherwise, it is removed when the VirtualMachine is applied.
func (r *Reconciler) disown(ctx context.Context, s *scope) error {
	vm := s.child(children.VirtualMachineKind)
	if vm == nil || !s.mvm.Spec.KeepsVirtualMachine() || !metav1.IsControlledBy(vm, s.mvm) {
		return nil
	}
	changed, err := r.Applier.Disown(ctx, vm)
	s.children[vmKey(s.mvm)] = changed
	return err
}

// release ends the operator's responsibility for the VirtualMachine of an object that is
// being deleted, and reports whether nothing remains to be done but the removal of the
// finalizer. Its order makes it repeatable at any point: the VirtualMachine keeps the
// labels by which the operator finds it until everything else has ended. readable is set
// if all kinds can be read. Otherwise, the state of the guest is not known.
func (r *Reconciler) release(ctx context.Context, s *scope, readable bool) (released bool, err error) {
	if !s.mvm.ReleasesVirtualMachine() {
		return false, nil
	}
	keep, shared := map[apply.Key]bool{}, map[apply.Key]bool{}
	var others []schema.GroupVersionKind
	if readable {
		if keep, err = r.startHeldGuests(ctx, s); err != nil {
			return false, err
		}
		if shared, err = r.sharedWithOthers(ctx, s); err != nil {
			return false, err
		}
		others = slices.DeleteFunc(s.prunable(), func(k schema.GroupVersionKind) bool { return k == children.PodNATConfigurationKind })
	}
	if err := r.prune(ctx, s, keep, children.PodNATConfigurationKind); err != nil {
		return false, err
	}
	if err := r.gatherNATs(ctx, s); err != nil {
		return false, err
	}
	if len(s.nats) > 0 && len(s.waits) == 0 {
		s.waits = append(s.waits, "the removal of the rules from the pods of the guest")
	}
	if len(s.waits) > 0 {
		return false, nil
	}
	// After a deletion with --cascade=orphan, the garbage collector does not delete them. They
	// select pods by labels that the next pod of the guest does not have.
	if err := r.prune(ctx, s, shared, others...); err != nil {
		return false, err
	}
	return true, r.releaseVM(ctx, s)
}

// sharedWithOthers returns the objects of the Service that have another member as an owner,
// which takes them over. A member that is not accepted and does not run is not an owner. The
// objects are read from the API server: the cache can be older than the last write of an owner.
func (r *Reconciler) sharedWithOthers(ctx context.Context, s *scope) (map[apply.Key]bool, error) {
	members, err := r.membersOf(ctx, s.mvm.Namespace, s.mvm.ServiceName())
	if err != nil {
		return nil, err
	}
	remaining := map[types.UID]bool{}
	for i := range members {
		if m := &members[i]; m.UID != s.mvm.UID && m.DeletionTimestamp.IsZero() {
			remaining[m.UID] = true
		}
	}
	shared := map[apply.Key]bool{}
	for _, k := range s.prunable() {
		if len(remaining) == 0 || !children.IsOfService(k.GroupKind()) {
			continue
		}
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind + "List"))
		labeled := client.MatchingLabels{v1alpha1.LabelMeshedVirtualMachine: s.mvm.Name}
		if err := r.Reader.List(ctx, list, client.InNamespace(s.mvm.Namespace), labeled); err != nil {
			return nil, fmt.Errorf("list %s: %w", k.Kind, err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			if slices.ContainsFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return remaining[ref.UID] }) {
				shared[apply.KeyOf(o)] = true
			}
		}
	}
	return shared, nil
}

// startHeldGuests starts the guests that the start gate delays, because no later gate
// opens: a guest that starts paused is unpaused, and a pod keeps its rules until its gate
// is open. It returns the configurations to keep.
func (r *Reconciler) startHeldGuests(ctx context.Context, s *scope) (map[apply.Key]bool, error) {
	if err := r.gatherGuest(ctx, s); err != nil {
		return nil, err
	}
	s.describePods()
	err := r.unpause(ctx, s)
	keep := map[apply.Key]bool{}
	for _, g := range s.guestPods {
		if g.start != v1alpha1.PodStartHeld {
			continue
		}
		keep[natKey(s.mvm, g.Pod)] = true
		s.waits = append(s.waits, s.whyHeld(g))
	}
	return keep, err
}

// whyHeld describes a guest that has not started, and the resolution.
func (s *scope) whyHeld(g guestPod) string {
	start := "the start of the guest of pod " + g.Name
	if !g.gateBlocks {
		if s.unpauseError != nil {
			return start + ", which is paused (" + s.unpauseError.Error() + "; unpause it with: virtctl -n " + s.mvm.Namespace + " unpause vm " + s.mvm.VirtualMachineName() + ")"
		}
		return start + ", which is paused"
	}
	message := start + ", whose start gate opens when its rules are verified ("
	if g.rules.Message != "" {
		message += strings.TrimSuffix(g.rules.Message, ".") + "; "
	}
	return message + "to start the guest without the operator, restart it with: virtctl -n " + s.mvm.Namespace + " restart " + s.mvm.VirtualMachineName() + ")"
}

// releaseVM removes the operator's metadata from the VirtualMachine.
func (r *Reconciler) releaseVM(ctx context.Context, s *scope) error {
	vm := &unstructured.Unstructured{}
	vm.SetGroupVersionKind(children.VirtualMachineKind)
	err := r.Reader.Get(ctx, vmObjectKey(s.mvm), vm)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return nil
	case err != nil:
		return fmt.Errorf("read VirtualMachine: %w", err)
	case s.mvm.Spec.Adopts() && vm.GetDeletionTimestamp().IsZero():
		return r.releaseExisting(ctx, s, vm)
	case apply.IsForeign(vm, s.mvm), !vm.GetDeletionTimestamp().IsZero():
		return nil
	}
	return client.IgnoreNotFound(r.Applier.Change(ctx, vm, children.Released(s.mvm, vm)))
}
