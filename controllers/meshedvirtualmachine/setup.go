// SPDX-License-Identifier: Apache-2.0

// Package meshedvirtualmachine reconciles MeshedVirtualMachine: it composes the
// KubeVirt, Istio and core objects of one guest, and a PodNATConfiguration for
// each of its live virt-launcher pods.
package meshedvirtualmachine

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/fairqueue"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/validate"
)

// Reconciler reconciles the objects that belong to MeshedVirtualMachines.
type Reconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Reader reads from the API server.
	Reader client.Reader
	// Applier writes the children.
	Applier apply.Applier
	// Recorder emits events.
	Recorder events.EventRecorder
	// StartGate specifies how guests are delayed.
	StartGate children.StartGate
	// ClusterDomain is the DNS domain of the cluster.
	ClusterDomain string
	// RootNamespace is Istio's root namespace.
	RootNamespace string
	// Cluster returns the facts about the cluster on which the acceptance of a spec
	// depends.
	Cluster func(context.Context) validate.Cluster
	// Unpauser unpauses guests that were started paused.
	Unpauser Unpauser
	// Now returns the current time. Defaults to time.Now.
	Now func() time.Time

	upstream *upstream
	accounts accounts
}

// +kubebuilder:rbac:groups=meshvm.io,resources=meshedvirtualmachines,verbs=list;watch;patch
// +kubebuilder:rbac:groups=meshvm.io,resources=meshedvirtualmachines/status,verbs=patch
// +kubebuilder:rbac:groups=meshvm.io,resources=meshedvirtualmachines/finalizers,verbs=update
// +kubebuilder:rbac:groups=meshvm.io,resources=podnatconfigurations,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get
// +kubebuilder:rbac:groups=kubevirt.io,resources=virtualmachines,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=kubevirt.io,resources=virtualmachineinstances,verbs=list;watch
// +kubebuilder:rbac:groups=networking.istio.io,resources=virtualservices;destinationrules,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.istio.io,resources=gateways,verbs=list;watch
// +kubebuilder:rbac:groups=networking.istio.io,resources=envoyfilters;sidecars;serviceentries,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=security.istio.io,resources=peerauthentications;authorizationpolicies;requestauthentications,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=telemetry.istio.io,resources=telemetries,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=list;watch

// SetupWithManager registers the controller and its watches. The kinds of
// KubeVirt and Istio are watched as soon as they are served: the operator
// starts without them and reports the missing kinds.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, workers int) error {
	if r.Cluster == nil {
		return errors.New("set up the MeshedVirtualMachine controller: Cluster is not set")
	}
	// Unstructured, as the Applier reads it: one informer serves both.
	service := cacheindex.Object(children.ServiceKind)
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(crdKind)
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("meshedvirtualmachine").
		For(&v1alpha1.MeshedVirtualMachine{}).
		Watches(&v1alpha1.MeshedVirtualMachine{}, handler.EnqueueRequestsFromMapFunc(r.peersOf), builder.WithPredicates(peersChange())).
		Watches(&v1alpha1.PodNATConfiguration{}, handler.EnqueueRequestsFromMapFunc(r.ofConfiguration)).
		Watches(service, handler.EnqueueRequestsFromMapFunc(r.serviceChanged)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.podChanged)).
		WatchesMetadata(crd, handler.EnqueueRequestsFromMapFunc(r.all), builder.WithPredicates(predicate.NewPredicateFuncs(isUpstreamCRD))).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, NewQueue: fairqueue.New}).
		Build(r)
	if err != nil {
		return fmt.Errorf("set up the MeshedVirtualMachine controller: %w", err)
	}
	r.upstream = newUpstream(r.Client, mgr.GetCache(), c, handler.EnqueueRequestsFromMapFunc(r.sameName))
	r.upstream.all = func(ctx context.Context) []reconcile.Request { return r.inNamespace(ctx, "") }
	r.upstream.handlers = map[schema.GroupVersionKind]handler.EventHandler{
		children.PeerAuthenticationKind:  handler.EnqueueRequestsFromMapFunc(r.policyChanged),
		children.AuthorizationPolicyKind: handler.EnqueueRequestsFromMapFunc(r.policyChanged),
		children.TelemetryKind:           handler.EnqueueRequestsFromMapFunc(r.policyChanged),
		children.SidecarKind:             handler.EnqueueRequestsFromMapFunc(r.policyChanged),
		children.ServiceEntryKind:        handler.EnqueueRequestsFromMapFunc(r.entryChanged),
		children.VirtualServiceKind:      handler.EnqueueRequestsFromMapFunc(r.hostsChanged),
		children.DestinationRuleKind:     handler.EnqueueRequestsFromMapFunc(r.hostsChanged),
		GatewayKind:                      handler.EnqueueRequestsFromMapFunc(r.gatewayChanged),
		children.VirtualMachineKind:      handler.EnqueueRequestsFromMapFunc(r.vmChanged),
		vmiKind:                          handler.EnqueueRequestsFromMapFunc(r.vmiChanged),
	}
	return nil
}

// sameName maps an object to the MeshedVirtualMachine whose child can have its name,
// whether the object belongs to it or conflicts with it.
func (r *Reconciler) sameName(ctx context.Context, o client.Object) []reconcile.Request {
	key := client.ObjectKey{Namespace: o.GetNamespace(), Name: children.GuestOf(o.GetName())}
	if !r.exists(ctx, key) {
		return nil
	}
	return []reconcile.Request{{NamespacedName: key}}
}

// vmChanged maps a VirtualMachine, or a VirtualMachineInstance, to its
// MeshedVirtualMachines.
func (r *Reconciler) vmChanged(ctx context.Context, o client.Object) []reconcile.Request {
	return r.ofVirtualMachine(ctx, o.GetNamespace(), o.GetName())
}

// ofVirtualMachine maps the name of a VirtualMachine to its MeshedVirtualMachines.
func (r *Reconciler) ofVirtualMachine(ctx context.Context, namespace, name string) []reconcile.Request {
	return r.inNamespace(ctx, namespace, client.MatchingFields{cacheindex.VirtualMachine: name})
}

// exists reports whether the cache contains a MeshedVirtualMachine.
func (r *Reconciler) exists(ctx context.Context, key client.ObjectKey) bool {
	return r.Client.Get(ctx, key, &v1alpha1.MeshedVirtualMachine{}, client.UnsafeDisableDeepCopy) == nil
}

// ofConfiguration maps a PodNATConfiguration to the MeshedVirtualMachines to which it
// belongs. One that has lost its owner reference and its label, for example in a restore,
// belongs to the MeshedVirtualMachine of its pod.
func (r *Reconciler) ofConfiguration(ctx context.Context, o client.Object) []reconcile.Request {
	names := children.Owners(o)
	if c, ok := o.(*v1alpha1.PodNATConfiguration); ok && len(names) == 0 {
		var pod corev1.Pod
		if err := r.Client.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: c.Spec.Pod.Name}, &pod); err != nil || pod.UID != c.Spec.Pod.UID {
			return nil
		}
		return r.ofPod(ctx, &pod)
	}
	out := make([]reconcile.Request, 0, len(names))
	for _, name := range names {
		out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}})
	}
	return r.withPeers(ctx, out)
}

// podChanged maps a virt-launcher pod to the MeshedVirtualMachines of its Service.
func (r *Reconciler) podChanged(ctx context.Context, o client.Object) []reconcile.Request {
	return r.withPeers(ctx, r.ofPod(ctx, o))
}

// ofPod maps a virt-launcher pod to the MeshedVirtualMachines of the VirtualMachine to which it
// belongs. A pod that no VirtualMachineInstance controls belongs to the one in its label.
func (r *Reconciler) ofPod(ctx context.Context, o client.Object) []reconcile.Request {
	if vm := launcherpod.GuestName(o); vm != "" {
		return r.ofVirtualMachine(ctx, o.GetNamespace(), vm)
	}
	name := o.GetLabels()[v1alpha1.LabelMeshedVirtualMachine]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: name}}}
}

// all maps a change of the served kinds to every MeshedVirtualMachine.
func (r *Reconciler) all(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.inNamespace(ctx, "")
}

// inNamespace lists the MeshedVirtualMachines of a namespace, or of all namespaces, that the
// options select.
func (r *Reconciler) inNamespace(ctx context.Context, namespace string, options ...client.ListOption) []reconcile.Request {
	return r.selected(ctx, namespace, func(*v1alpha1.MeshedVirtualMachine) bool { return true }, options...)
}
