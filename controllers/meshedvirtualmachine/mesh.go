// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/meshpolicy"
)

// gatherMesh reads the objects of Istio that can apply to the guest, regardless of
// their owner: the policies of the pods' namespace and of Istio's root namespace, and
// the routes of the namespace, which have precedence over the routes of other
// namespaces. The index leaves out the objects that only apply to other guests.
func (r *Reconciler) gatherMesh(ctx context.Context, s *scope) error {
	if err := errors.Join(r.gatherControlPlane(ctx, s), r.gatherOptional(ctx, s)); err != nil {
		return err
	}
	both := slices.Compact([]string{s.mvm.Namespace, r.RootNamespace})
	service := []string{cacheindex.EveryGuest, s.mvm.ServiceName()}
	workloads := s.workloads()
	var err error
	if s.policies, err = listAs[securityv1.PeerAuthentication](ctx, r.Client, children.PeerAuthenticationKind, cacheindex.Selector, workloads, both...); err != nil {
		return err
	}
	if s.routes, err = listAs[networkingv1.VirtualService](ctx, r.Client, children.VirtualServiceKind, cacheindex.Guest, service, s.mvm.Namespace); err != nil {
		return err
	}
	if s.rules, err = listAs[networkingv1.DestinationRule](ctx, r.Client, children.DestinationRuleKind, cacheindex.Guest, service, s.mvm.Namespace); err != nil {
		return err
	}
	if err := r.gatherOthers(ctx, s); err != nil {
		return err
	}
	if u := s.unavailable[children.AuthorizationPolicyKind.GroupKind()]; u != nil {
		if u.unread {
			s.unread = &u.dependency
		}
		return nil
	}
	s.authorization, err = listAs[securityv1.AuthorizationPolicy](ctx, r.Client, children.AuthorizationPolicyKind, cacheindex.Selector, workloads, both...)
	return err
}

// workloads returns the keys of the policies that can select the pods.
func (s *scope) workloads() []string {
	labels := make([]map[string]string, 0, len(s.pods))
	for i := range s.pods {
		labels = append(labels, s.pods[i].Labels)
	}
	return meshpolicy.SelectorKeys(labels...)
}

// istiod selects the Services of Istio's control plane (Istio,
// manifests/charts/istio-control/istio-discovery/templates/service.yaml).
var istiod = client.MatchingLabels{"app": "istiod"}

// gatherControlPlane looks for a Service of istiod in the configured root namespace.
// Without one, the namespace may not be Istio's root namespace.
func (r *Reconciler) gatherControlPlane(ctx context.Context, s *scope) error {
	services := &unstructured.UnstructuredList{}
	services.SetGroupVersionKind(children.ServiceKind.GroupVersion().WithKind(children.ServiceKind.Kind + "List"))
	if err := r.Client.List(ctx, services, client.InNamespace(r.RootNamespace), istiod, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Services in namespace %s: %w", r.RootNamespace, err)
	}
	s.rootUnconfirmed = len(services.Items) == 0
	return nil
}

// serviceChanged maps a Service to its MeshedVirtualMachines, and the Services
// of istiod in the root namespace to all.
func (r *Reconciler) serviceChanged(ctx context.Context, o client.Object) []reconcile.Request {
	if o.GetNamespace() == r.RootNamespace && o.GetLabels()["app"] == istiod["app"] {
		return r.all(ctx, o)
	}
	return r.members(ctx, o.GetNamespace(), o.GetName())
}

// listAs lists the objects of a kind in the namespaces that have one of the keys in an
// index. The result is not nil.
func listAs[T any](ctx context.Context, c client.Reader, kind schema.GroupVersionKind, index string, keys []string, namespaces ...string) ([]*T, error) {
	out := []*T{}
	for _, namespace := range namespaces {
		for _, key := range keys {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
			// The objects are decoded into others, so they are not copied.
			if err := c.List(ctx, list, client.InNamespace(namespace), client.MatchingFields{index: key}, client.UnsafeDisableDeepCopy); err != nil {
				return nil, fmt.Errorf("list objects of kind %s in namespace %s: %w", kind.Kind, namespace, err)
			}
			for i := range list.Items {
				o, err := decode[T](&list.Items[i])
				if err != nil {
					return nil, err
				}
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// decode decodes an object. Istio's types decode only by their own JSON methods.
func decode[T any](u *unstructured.Unstructured) (*T, error) {
	text, err := u.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", apply.Describe(u), err)
	}
	o := new(T)
	if err := json.Unmarshal(text, o); err != nil {
		return nil, fmt.Errorf("decode %s: %w", apply.Describe(u), err)
	}
	return o, nil
}

// ownObjects puts the objects of Istio that this reconcile applied in the place of the
// cached ones, which can be older or missing.
func (s *scope) ownObjects() error {
	if s.policies == nil {
		return nil
	}
	var err error
	if s.policies, err = withOwn(s, children.PeerAuthenticationKind, s.policies); err != nil {
		return err
	}
	if s.routes, err = withOwn(s, children.VirtualServiceKind, s.routes); err != nil {
		return err
	}
	if s.rules, err = withOwn(s, children.DestinationRuleKind, s.rules); err != nil {
		return err
	}
	if s.telemetries, err = withOwn(s, children.TelemetryKind, s.telemetries); err != nil {
		return err
	}
	if s.sidecars, err = withOwn(s, children.SidecarKind, s.sidecars); err != nil {
		return err
	}
	s.authorization, err = withOwn(s, children.AuthorizationPolicyKind, s.authorization)
	return err
}

func withOwn[T any, P interface {
	*T
	client.Object
}](s *scope, kind schema.GroupVersionKind, all []P) ([]P, error) {
	for _, u := range s.childrenOf(kind.GroupKind()) {
		own, err := decode[T](u)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(o P) bool { return o.GetName() == u.GetName() && o.GetNamespace() == u.GetNamespace() })
		all = append(all, own)
	}
	return all, nil
}

// childrenOf returns the children of a kind, sorted by name.
func (s *scope) childrenOf(kind schema.GroupKind) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for key, u := range s.children {
		if key.Kind == kind {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// child is the child of a kind whose children have the name of the
// MeshedVirtualMachine or of its Service, nil if it does not exist or could not be applied.
func (s *scope) child(kind schema.GroupVersionKind) *unstructured.Unstructured {
	return s.children[s.childKey(children.Kind{GroupVersionKind: kind})]
}

// isChild reports whether an object of Istio has the name of the operator's.
func (s *scope) isChild(o client.Object) bool {
	name := s.mvm.Name
	switch o.(type) {
	case *networkingv1.VirtualService, *networkingv1.DestinationRule:
		name = s.mvm.ServiceName()
	}
	return o.GetName() == name && o.GetNamespace() == s.mvm.Namespace
}

// policyChanged maps a policy to the MeshedVirtualMachines to whose pods it can apply:
// those of its namespace, or all for one in Istio's root namespace. If its selector
// names one MeshedVirtualMachine, it maps to that MeshedVirtualMachine and to the
// MeshedVirtualMachines whose pods have this label. A policy with the name of a
// MeshedVirtualMachine can be in conflict with its child.
func (r *Reconciler) policyChanged(ctx context.Context, o client.Object) []reconcile.Request {
	guests := cacheindex.Guests(o)
	vm := cacheindex.SelectedVirtualMachine(o)
	switch {
	case o.GetNamespace() == r.RootNamespace:
		return r.all(ctx, o)
	case vm != "":
		return append(r.sameName(ctx, o), r.ofVirtualMachine(ctx, o.GetNamespace(), vm)...)
	case slices.Contains(guests, cacheindex.EveryGuest):
		return r.inNamespace(ctx, o.GetNamespace())
	}
	var pods corev1.PodList
	labeled := cacheindex.Labels(map[string]string{v1alpha1.LabelMeshedVirtualMachine: guests[0]})
	if err := r.Client.List(ctx, &pods, client.InNamespace(o.GetNamespace()), labeled, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Cannot list the pods that a policy selects")
	}
	requests := append(r.sameName(ctx, o), reconcile.Request{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: guests[0]}})
	for i := range pods.Items {
		requests = append(requests, r.ofPod(ctx, &pods.Items[i])...)
	}
	return requests
}

// hostsChanged maps a VirtualService or DestinationRule to the MeshedVirtualMachines
// whose Service has one of its hosts, and to those of the Service of its name.
func (r *Reconciler) hostsChanged(ctx context.Context, o client.Object) []reconcile.Request {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	hosts, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "hosts")
	if host, found, _ := unstructured.NestedString(u.Object, "spec", "host"); found {
		hosts = append(hosts, host)
	}
	ofName := children.GuestOf(o.GetName())
	services := append(cacheindex.Guests(o), ofName)
	if slices.Contains(services, cacheindex.EveryGuest) {
		return r.selected(ctx, o.GetNamespace(), func(mvm *v1alpha1.MeshedVirtualMachine) bool {
			fqdn := mvm.ServiceFQDN(r.ClusterDomain)
			return mvm.ServiceName() == ofName || slices.ContainsFunc(hosts, func(h string) bool { return meshpolicy.Covers(h, fqdn) })
		})
	}
	slices.Sort(services)
	var requests []reconcile.Request
	for _, service := range slices.Compact(services) {
		fqdn := (&v1alpha1.MeshedVirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: service}}).ServiceFQDN(r.ClusterDomain)
		if service == ofName || slices.ContainsFunc(hosts, func(h string) bool { return meshpolicy.Covers(h, fqdn) }) {
			requests = append(requests, r.members(ctx, o.GetNamespace(), service)...)
		}
	}
	return requests
}
