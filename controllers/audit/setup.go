// SPDX-License-Identifier: Apache-2.0

// Package audit checks at intervals whether the verified rules are still
// present in the pods of a node. It creates the Jobs that read the rules back,
// and deletes them. It writes no status and makes no repairs: the
// PodNATConfiguration controller reads the results of the Jobs from the cache.
package audit

import (
	"context"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/rulejob"
)

// Reconciler audits nodes.
type Reconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Reader reads from the API server.
	Reader client.Reader
	// Jobs is the installation's configuration of rule-writer Jobs.
	Jobs rulejob.Config
	// Interval is the time between two audits of a node.
	Interval *Interval
	// Now returns the current time.
	Now func() time.Time

	// began is the time at which the controller was set up.
	began time.Time

	mu    sync.Mutex
	last  map[string]time.Time
	reads map[types.UID]reading
}

// +kubebuilder:rbac:groups=meshvm.io,resources=podnatconfigurations,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch
// +kubebuilder:rbac:groups=batch,namespace=meshvm-system,resources=jobs,verbs=list;watch;create;delete

// SetupWithManager registers the controller and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, workers int) error {
	r.began = r.Now()
	err := ctrl.NewControllerManagedBy(mgr).
		Named("audit").
		For(&corev1.Node{}, builder.WithPredicates(readinessChanged)).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(forAudit)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(forAudit)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(onNode), builder.WithPredicates(sidecarReady)).
		Watches(&v1alpha1.PodNATConfiguration{}, handler.EnqueueRequestsFromMapFunc(forConfig), builder.WithPredicates(resultRecorded)).
		WatchesRawSource(source.Channel(r.Interval.changed, handler.EnqueueRequestsFromMapFunc(r.allNodes))).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the audit controller: %w", err)
	}
	return nil
}

// allNodes requests a reconcile of every node.
func (r *Reconciler) allNodes(ctx context.Context, _ client.Object) []reconcile.Request {
	var nodes corev1.NodeList
	if err := r.Client.List(ctx, &nodes); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Cannot list the nodes for a new audit interval")
		return nil
	}
	out := make([]reconcile.Request, 0, len(nodes.Items))
	for i := range nodes.Items {
		out = append(out, forName(nodes.Items[i].Name)...)
	}
	return out
}

// forAudit maps an audit's Job or pod to its node.
func forAudit(_ context.Context, o client.Object) []reconcile.Request {
	return forName(o.GetAnnotations()[v1alpha1.AnnotationAuditNode])
}

// onNode maps a pod to its node.
func onNode(_ context.Context, o client.Object) []reconcile.Request {
	if p, ok := o.(*corev1.Pod); ok && launcherpod.IsLauncher(p) {
		return forName(p.Spec.NodeName)
	}
	return nil
}

// forConfig maps a PodNATConfiguration to the node on which its rules are
// programmed.
func forConfig(_ context.Context, o client.Object) []reconcile.Request {
	c, ok := o.(*v1alpha1.PodNATConfiguration)
	if !ok {
		return nil
	}
	return forName(c.Status.Applied.Node)
}

func forName(node string) []reconcile.Request {
	if node == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: node}}}
}

// resultRecorded selects updates that may record the result of an audit, and updates after
// which a proxy must be read.
var resultRecorded = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*v1alpha1.PodNATConfiguration)
		after, ok2 := e.ObjectNew.(*v1alpha1.PodNATConfiguration)
		return ok1 && ok2 && (before.Status.Repairs.Count != after.Status.Repairs.Count ||
			before.Annotations[v1alpha1.AnnotationMutualTLS] != after.Annotations[v1alpha1.AnnotationMutualTLS] ||
			!equality.Semantic.DeepEqual(before.Status, after.Status))
	},
}

// readinessChanged selects the events of nodes that were added or removed, or whose
// readiness changed.
var readinessChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		return !ok1 || !ok2 || rulejob.NodeReady(before) != rulejob.NodeReady(after)
	},
}

// lastRound returns the start of the last audited round. It is kept only in
// memory: a new manager repeats at most one audit.
func (r *Reconciler) lastRound(node string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[node]
}

func (r *Reconciler) setLastRound(node string, begin time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]time.Time{}
	}
	r.last[node] = begin
}

func (r *Reconciler) forget(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, node)
}
