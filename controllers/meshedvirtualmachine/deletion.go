// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"errors"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/conditions"
)

// reportDeletion reports what the deletion of the object waits for. The garbage
// collector deletes the children, and each PodNATConfiguration has a finalizer of its
// controller, so the operator does nothing else, except that it releases a
// VirtualMachine that remains.
func (r *Reconciler) reportDeletion(ctx context.Context, s *scope) error {
	missing, _, err := r.upstream.missing(ctx)
	if err != nil {
		return err
	}
	readable := false
	if missing == nil {
		unread, err := r.upstream.unread(ctx, dependencies...)
		if err != nil {
			return err
		}
		// Reading a kind that cannot be listed would block the worker.
		if readable = unread == nil; readable {
			if err := r.gatherOptional(ctx, s); err != nil {
				return err
			}
			if err := r.listChildren(ctx, s); err != nil {
				return err
			}
		}
	}
	released, err := r.release(ctx, s, readable)
	s.writeDeletion()
	if err := errors.Join(err, conditions.PatchStatus(ctx, r.Client, s.before, s.mvm)); err != nil || !released {
		return err
	}
	return r.patchFinalizer(ctx, s, controllerutil.RemoveFinalizer)
}

// writeDeletion computes the whole status of an object that is being deleted. The
// operator does not check the state of its guest and its policies any more: a deletion in
// the foreground removes the policies while the VirtualMachine still exists.
func (s *scope) writeDeletion() {
	st := &s.mvm.Status
	st.ObservedGeneration = s.mvm.Generation
	st.Conditions = conditions.Merge(st.Conditions, s.mvm.Generation, s.terminating()...)
	if st.MTLS.DeclaredMode == "" {
		st.MTLS = s.mtls(false)
	}
	st.MTLS.EffectiveMode, st.MTLS.Source = v1alpha1.MTLSModeDisable, v1alpha1.MTLSSourcePolicy
	st.Ports = s.ports()
	st.Pods, st.OmittedPods = nil, 0
	st.Service = v1alpha1.SharedServiceStatus{}
	if s.mvm.ReleasesVirtualMachine() { // It shows whether a guest was unpaused.
		st.Pods, st.OmittedPods = atMost(maxPodStatuses, s.podStatuses())
	}
	st.RelatedObjects, st.OmittedRelatedObjects = atMost(maxRelatedObjects, s.relatedObjects())
	st.Addresses, _ = atMost(maxAddresses, s.addresses())
}

// terminating returns the conditions of an object that is being deleted. Ready is False,
// and the operator does not work towards the spec any more.
func (s *scope) terminating() []conditions.Condition {
	all := []conditions.Condition{
		conditions.False(v1alpha1.ConditionReady, v1alpha1.ReasonTerminating, deletionMessage(s.mvm, s.children, s.waits)),
	}
	for _, t := range []v1alpha1.ConditionType{
		v1alpha1.ConditionAccepted, v1alpha1.ConditionDependenciesAvailable, v1alpha1.ConditionServiceReady,
		v1alpha1.ConditionMeshPolicyApplied, v1alpha1.ConditionMeshPolicyEffective,
		v1alpha1.ConditionVirtualMachineReady, v1alpha1.ConditionNATProgrammed,
	} {
		all = append(all, conditions.Unknown(t, v1alpha1.ReasonPending, "not checked because the object is being deleted"))
	}
	if c, ok := pauseCondition(s.mvm.Annotations); ok {
		all = append(all, c)
	}
	return all
}

// deletionMessage describes what the deletion of the object waits for. Only a deletion
// in the foreground waits for the children (Kubernetes, Garbage Collection). waits are the
// reasons why the VirtualMachine is not released yet.
func deletionMessage(mvm *v1alpha1.MeshedVirtualMachine, children map[apply.Key]*unstructured.Unstructured, waits []string) string {
	reasons := slices.Clone(waits)
	foreground := slices.Contains(mvm.Finalizers, metav1.FinalizerDeleteDependents)
	if foreground && len(children) > 0 {
		names := make([]string, 0, len(children))
		for key, o := range children {
			if key == vmKey(mvm) && mvm.ReleasesVirtualMachine() {
				continue
			}
			name := key.Kind.Kind + " " + key.Name
			if f := otherFinalizers(o); len(f) > 0 {
				name += " (finalizers " + strings.Join(f, ", ") + ")"
			}
			names = append(names, name)
		}
		slices.Sort(names)
		if len(names) > 0 {
			reasons = append(reasons, "the deletion of "+strings.Join(names, ", "))
		}
	}
	if others := otherFinalizers(mvm); len(others) > 0 {
		reasons = append(reasons, "the controllers of its finalizers "+strings.Join(others, ", "))
	}
	if len(reasons) == 0 {
		return "the object is being deleted"
	}
	return "the object is being deleted and waits for " + strings.Join(reasons, " and for ")
}

// otherFinalizers returns the finalizers of an object without the operator's, which waits
// names, and without the finalizer of a deletion in the foreground, which the API server
// adds and the garbage collector removes.
func otherFinalizers(o metav1.Object) []string {
	return slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool {
		return f == metav1.FinalizerDeleteDependents || f == v1alpha1.FinalizerOrphan
	})
}
