// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"meshvm.io/meshvm/api/v1alpha1"
)

// members maps the name of a Service to its MeshedVirtualMachines.
func (r *Reconciler) members(ctx context.Context, namespace, service string) []reconcile.Request {
	list, err := r.membersOf(ctx, namespace, service)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Cannot list the MeshedVirtualMachines that an event concerns")
		return nil
	}
	out := make([]reconcile.Request, 0, len(list))
	for i := range list {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list[i])})
	}
	return out
}

// selected lists the MeshedVirtualMachines of a namespace, or of all namespaces, that the
// options and a function select.
func (r *Reconciler) selected(ctx context.Context, namespace string, is func(*v1alpha1.MeshedVirtualMachine) bool, options ...client.ListOption) []reconcile.Request {
	var list v1alpha1.MeshedVirtualMachineList
	// Only the names are kept, so the objects are not copied.
	options = append(options, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)
	if err := r.Client.List(ctx, &list, options...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Cannot list the MeshedVirtualMachines that an event concerns")
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		if is(&list.Items[i]) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out
}

// peersOf maps a MeshedVirtualMachine to the others that share its Service or name its
// VirtualMachine.
func (r *Reconciler) peersOf(ctx context.Context, o client.Object) []reconcile.Request {
	mvm, ok := o.(*v1alpha1.MeshedVirtualMachine)
	if !ok {
		return nil
	}
	peers := append(r.members(ctx, mvm.Namespace, mvm.ServiceName()), r.ofVirtualMachine(ctx, mvm.Namespace, mvm.VirtualMachineName())...)
	return slices.DeleteFunc(peers, func(q reconcile.Request) bool { return q.Name == mvm.Name })
}

// withPeers adds the MeshedVirtualMachines that share a Service with the requested ones:
// the percentages of a Service depend on the guests of all members.
func (r *Reconciler) withPeers(ctx context.Context, requests []reconcile.Request) []reconcile.Request {
	for _, q := range slices.Clone(requests) {
		var mvm v1alpha1.MeshedVirtualMachine
		if r.Client.Get(ctx, q.NamespacedName, &mvm, client.UnsafeDisableDeepCopy) == nil {
			requests = append(requests, r.peersOf(ctx, &mvm)...)
		}
	}
	return requests
}

// peersChange selects the changes of a MeshedVirtualMachine that concern the others of its
// Service: of the spec, the annotations and a deletion, and of the conditions that
// the others quote.
func peersChange() predicate.Predicate {
	quoted := []v1alpha1.ConditionType{v1alpha1.ConditionAccepted, v1alpha1.ConditionServiceReady, v1alpha1.ConditionMeshPolicyApplied}
	same := func(a, b *metav1.Condition) bool {
		return a == nil && b == nil || a != nil && b != nil && a.Status == b.Status && a.Message == b.Message
	}
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(*v1alpha1.MeshedVirtualMachine)
			after, also := e.ObjectNew.(*v1alpha1.MeshedVirtualMachine)
			return ok && also && slices.ContainsFunc(quoted, func(t v1alpha1.ConditionType) bool {
				return !same(meta.FindStatusCondition(before.Status.Conditions, string(t)), meta.FindStatusCondition(after.Status.Conditions, string(t)))
			})
		},
	})
}
