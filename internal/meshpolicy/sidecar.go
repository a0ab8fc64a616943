// SPDX-License-Identifier: Apache-2.0

package meshpolicy

import (
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// SidecarBefore returns the Sidecar that Istio applies to a pod with the labels instead of
// own, or nil. Of several Sidecars of the namespace with a selector that selects the pod,
// Istio applies the oldest. It uses a Sidecar without a selector, also one of the root
// namespace, only if there is none with a selector (Istio, pilot/pkg/model,
// initSidecarScopes and getSidecarScope).
func SidecarBefore(own *networkingv1.Sidecar, all []*networkingv1.Sidecar, labels map[string]string) *networkingv1.Sidecar {
	for _, s := range byAge(all) {
		selector := s.Spec.GetWorkloadSelector()
		if s.Namespace != own.Namespace || selector == nil || !selects(selector.GetLabels(), labels) {
			continue
		}
		if s.Name == own.Name {
			return nil
		}
		return s
	}
	return nil
}

// EndpointsFor returns a ServiceEntry of the namespace of a Service that adds endpoints to
// it, or nil. Istio keeps the endpoints of a Service and of a ServiceEntry with the same host
// and namespace in one list, regardless of exportTo (Istio, pilot/pkg/model,
// EndpointIndex, and pilot/pkg/xds/endpoints, snapshotShards). The Service of Kubernetes
// decides about ports and settings (pilot/pkg/model, initServiceRegistry).
func EndpointsFor(namespace, fqdn string, entries []*networkingv1.ServiceEntry) *networkingv1.ServiceEntry {
	for _, e := range byAge(entries) {
		hasEndpoints := len(e.Spec.GetEndpoints()) > 0 || e.Spec.GetWorkloadSelector() != nil
		if e.Namespace == namespace && slices.Contains(e.Spec.GetHosts(), fqdn) && hasEndpoints && e.Spec.GetResolution() != networkingv1alpha3.ServiceEntry_NONE {
			return e
		}
	}
	return nil
}
