// SPDX-License-Identifier: Apache-2.0

// Package podnatconfiguration reconciles PodNATConfiguration. It creates the
// rule-writer Jobs that program the rules, and reports the rules that the Jobs
// read back from the kernel.
package podnatconfiguration

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/fairqueue"
	"meshvm.io/meshvm/internal/rulejob"
)

// Reconciler programs the rules of virt-launcher pods according to their
// PodNATConfigurations.
type Reconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Reader reads from the API server.
	Reader client.Reader
	// Recorder emits events.
	Recorder events.EventRecorder
	// Jobs is the installation's configuration of rule-writer Jobs.
	Jobs rulejob.Config
	// Limits bound repairs while another process keeps changing the rules.
	Limits func() drift.Limits
	// Now returns the current time.
	Now func() time.Time
}

// +kubebuilder:rbac:groups=meshvm.io,resources=meshedvirtualmachines,verbs=list;watch
// +kubebuilder:rbac:groups=meshvm.io,resources=podnatconfigurations,verbs=list;watch;patch;delete
// +kubebuilder:rbac:groups=meshvm.io,resources=podnatconfigurations/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=batch,namespace=meshvm-system,resources=jobs,verbs=list;watch;create;delete

// SetupWithManager registers the controller and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, workers int) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("podnatconfiguration").
		For(&v1alpha1.PodNATConfiguration{}, builder.WithPredicates(counted)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.forPod)).
		Watches(&v1alpha1.MeshedVirtualMachine{}, handler.EnqueueRequestsFromMapFunc(r.forMVM), builder.WithPredicates(pauseChanged)).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(forRuleOwner)).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.forNode), builder.WithPredicates(nodeChanged)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, NewQueue: fairqueue.New}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the PodNATConfiguration controller: %w", err)
	}
	return nil
}

// forPod maps a virt-launcher pod, or a rule-writer's pod, to its
// PodNATConfiguration.
func (r *Reconciler) forPod(ctx context.Context, o client.Object) []reconcile.Request {
	if o.GetNamespace() == r.Jobs.Namespace && o.GetAnnotations()[v1alpha1.AnnotationRuleOwner] != "" {
		return forRuleOwner(ctx, o)
	}
	if p, ok := o.(*corev1.Pod); ok && o.GetNamespace() == r.Jobs.Namespace && o.GetAnnotations()[v1alpha1.AnnotationAuditTargets] != "" {
		return forAudit(p)
	}
	return r.configurations(ctx, o.GetNamespace(), client.MatchingFields{cacheindex.Pod: string(o.GetUID())})
}

// forMVM maps a MeshedVirtualMachine to its PodNATConfigurations.
func (r *Reconciler) forMVM(ctx context.Context, o client.Object) []reconcile.Request {
	return r.configurations(ctx, o.GetNamespace(), client.MatchingFields{cacheindex.Owner: o.GetName()})
}

// configurations lists the PodNATConfigurations of a namespace that an index selects.
func (r *Reconciler) configurations(ctx context.Context, namespace string, selected client.MatchingFields) []reconcile.Request {
	var list v1alpha1.PodNATConfigurationList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), selected, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Cannot list the PodNATConfigurations that an event concerns")
		return nil
	}
	out := make([]reconcile.Request, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return out
}

// pauseChanged selects updates that pause or resume a MeshedVirtualMachine.
var pauseChanged = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	DeleteFunc: func(event.DeleteEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		const key = v1alpha1.AnnotationPaused
		return e.ObjectOld.GetAnnotations()[key] != e.ObjectNew.GetAnnotations()[key]
	},
}

// forRuleOwner maps a rule-writer Job or pod to its PodNATConfiguration.
func forRuleOwner(_ context.Context, o client.Object) []reconcile.Request {
	namespace, name, ok := strings.Cut(o.GetAnnotations()[v1alpha1.AnnotationRuleOwner], "/")
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}}
}

// forAudit maps an audit's pod with results to the PodNATConfigurations that were
// audited.
func forAudit(pod *corev1.Pod) []reconcile.Request {
	results := rulejob.AuditResults(pod)
	out := make([]reconcile.Request, 0, len(results))
	for _, r := range results {
		out = append(out, reconcile.Request{NamespacedName: r.Entry.Key()})
	}
	return out
}

// forNode maps a node to the PodNATConfigurations that are not Ready or are being
// deleted, which may wait for this node, and to those whose rules are on this node,
// because a reboot removes the rules.
func (r *Reconciler) forNode(ctx context.Context, o client.Object) []reconcile.Request {
	var out []reconcile.Request
	for _, index := range []client.MatchingFields{{cacheindex.Node: o.GetName()}, {cacheindex.Unfinished: cacheindex.True}} {
		var list v1alpha1.PodNATConfigurationList
		if err := r.Client.List(ctx, &list, index, client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Cannot list PodNATConfigurations for a node event")
			return nil
		}
		for i := range list.Items {
			// The queue ignores an object that it already contains.
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out
}

// nodeChanged selects the events of nodes that were added, removed or rebooted, or
// whose readiness changed. It ignores heartbeats.
var nodeChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		return !ok1 || !ok2 || rulejob.NodeReady(before) != rulejob.NodeReady(after) || bootID(before) != bootID(after)
	},
}

func bootID(n *corev1.Node) string {
	if n == nil {
		return ""
	}
	return n.Status.NodeInfo.BootID
}
