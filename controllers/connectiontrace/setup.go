// SPDX-License-Identifier: Apache-2.0

// Package connectiontrace reconciles ConnectionTrace. It creates the Job that traces
// connections in the pod of a MeshedVirtualMachine, and reports the result.
package connectiontrace

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/fairqueue"
	"meshvm.io/meshvm/internal/rulejob"
)

// Reconciler runs ConnectionTraces.
type Reconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Reader reads from the API server.
	Reader client.Reader
	// Jobs is the installation's configuration of Jobs.
	Jobs rulejob.Config
	// Now returns the current time.
	Now func() time.Time

	limits limits
}

// +kubebuilder:rbac:groups=meshvm.io,resources=connectiontraces,verbs=list;watch;delete
// +kubebuilder:rbac:groups=meshvm.io,resources=connectiontraces/status,verbs=patch
// +kubebuilder:rbac:groups=meshvm.io,resources=meshedvirtualmachines;podnatconfigurations,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch
// +kubebuilder:rbac:groups=batch,namespace=meshvm-system,resources=jobs,verbs=list;watch;create;delete

// SetupWithManager registers the controller and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, workers int) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("connectiontrace").
		For(&v1alpha1.ConnectionTrace{}).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(r.forTrace)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.forTrace)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, NewQueue: fairqueue.New}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the ConnectionTrace controller: %w", err)
	}
	return nil
}

// forTrace maps the Job of a ConnectionTrace, or its pod, to the ConnectionTrace and to
// those of the same namespace that wait.
func (r *Reconciler) forTrace(ctx context.Context, o client.Object) []reconcile.Request {
	namespace, name, ok := strings.Cut(o.GetAnnotations()[v1alpha1.AnnotationTrace], "/")
	if !ok || o.GetNamespace() != r.Jobs.Namespace {
		return nil
	}
	out := []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}}
	var traces v1alpha1.ConnectionTraceList
	if err := r.Client.List(ctx, &traces, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Cannot list the ConnectionTraces that wait")
		return out
	}
	for i := range traces.Items {
		if t := &traces.Items[i]; t.Name != name && waits(t) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(t)})
		}
	}
	return out
}

// waits reports whether a trace has not started and has not ended.
func waits(t *v1alpha1.ConnectionTrace) bool {
	return t.Status.StartTime.IsZero() && t.Status.CompletionTime.IsZero()
}
