// Package podnatconfiguration reconciles PodNATConfiguration: it alone makes
// rule-writer Jobs, and it reports what they read back from the kernel.
package podnatconfiguration

import (
	"context"
	"fmt"
	"slices"
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
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/rulejob"
)

// Reconciler brings the rules of virt-launcher pods in line with their
// PodNATConfigurations.
type Reconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Recorder emits events.
	Recorder events.EventRecorder
	// Jobs is what the installation decides about rule-writer Jobs.
	Jobs rulejob.Config
	// Now is the clock that back-off is measured by.
	Now func() time.Time
}

// +kubebuilder:rbac:groups=meshvm.io,resources=podnatconfigurations,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=meshvm.io,resources=podnatconfigurations/status,verbs=patch
// +kubebuilder:rbac:groups=meshvm.io,resources=meshedvirtualmachines,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=batch,namespace=meshvm-system,resources=jobs,verbs=get;list;watch;create;delete

// SetupWithManager registers the controller and what it watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, workers int) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("podnatconfiguration").
		For(&v1alpha1.PodNATConfiguration{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.forPod)).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(forRuleOwner)).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.forNode), builder.WithPredicates(nodeReadinessChanged)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the PodNATConfiguration controller: %w", err)
	}
	return nil
}

// forPod maps a virt-launcher pod, or a rule-writer's pod, to the
// PodNATConfiguration that it matters to.
func (r *Reconciler) forPod(ctx context.Context, o client.Object) []reconcile.Request {
	if o.GetNamespace() == r.Jobs.Namespace && o.GetAnnotations()[v1alpha1.AnnotationRuleOwner] != "" {
		return forRuleOwner(ctx, o)
	}
	vm := o.GetLabels()[v1alpha1.LabelMeshedVirtualMachine]
	if vm == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{
		Namespace: o.GetNamespace(),
		Name:      children.PodNATConfigurationName(vm, o.GetUID()),
	}}}
}

// forRuleOwner maps a rule-writer Job or pod to its PodNATConfiguration.
func forRuleOwner(_ context.Context, o client.Object) []reconcile.Request {
	namespace, name, ok := strings.Cut(o.GetAnnotations()[v1alpha1.AnnotationRuleOwner], "/")
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}}
}

// forNode maps a node to the PodNATConfigurations that are not programmed or
// not gone yet: one of them may have waited for this node.
func (r *Reconciler) forNode(ctx context.Context, _ client.Object) []reconcile.Request {
	var list v1alpha1.PodNATConfigurationList
	if err := r.Client.List(ctx, &list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "cannot list PodNATConfigurations for a node event")
		return nil
	}
	var out []reconcile.Request
	for i := range list.Items {
		c := &list.Items[i]
		if c.DeletionTimestamp.IsZero() && conditions.IsTrue(c.Status.Conditions, v1alpha1.ConditionReady, c.Generation) {
			continue
		}
		out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(c)})
	}
	return out
}

// nodeReadinessChanged lets a node's events through only when it came, went or
// changed its readiness: heartbeats are no news.
var nodeReadinessChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		return !ok1 || !ok2 || nodeReady(before) != nodeReady(after)
	},
}

func nodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
