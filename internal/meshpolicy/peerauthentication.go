// SPDX-License-Identifier: Apache-2.0

// Package meshpolicy computes which of several Istio policies is in effect for a
// pod. It is pure.
package meshpolicy

import (
	"cmp"
	"slices"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// DefaultRootNamespace is the default of Istio's root namespace, in which policies
// without a selector apply to the whole mesh (Istio, MeshConfig.rootNamespace).
const DefaultRootNamespace = "istio-system"

// MutualTLS is the mutual TLS policy that is in effect for a pod.
type MutualTLS struct {
	// Workload is the policy with a selector that applies to the pod, or nil. If
	// several policies select the pod, Istio applies only the oldest.
	Workload *securityv1.PeerAuthentication
	// mode is the mode of ports that do not set a mode.
	mode  v1alpha1.MTLSMode
	ports map[uint32]v1alpha1.MTLSMode
}

// Mode returns the mode of a port, identified by the number on which the guest
// listens.
func (m MutualTLS) Mode(port int32) v1alpha1.MTLSMode {
	if mode, ok := m.ports[v1alpha1.IstioPort(port)]; ok {
		return mode
	}
	return m.mode
}

// EffectiveMutualTLS merges the PeerAuthentications of the pod's namespace and
// of the root namespace for a pod with the labels. It follows Istio
// (pilot/pkg/security/authn, ComposePeerAuthentication, and pilot/pkg/model,
// configCompareByCreationTime): within one scope, the oldest policy applies.
// The policy of the workload has precedence over the policy of the namespace,
// which has precedence over the policy of the mesh.
func EffectiveMutualTLS(policies []*securityv1.PeerAuthentication, rootNamespace string, labels map[string]string) MutualTLS {
	sorted := slices.Clone(policies)
	slices.SortFunc(sorted, func(a, b *securityv1.PeerAuthentication) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace))
	})
	var mesh, namespace, workload *securityv1.PeerAuthentication
	for _, p := range sorted {
		selector := p.Spec.GetSelector().GetMatchLabels()
		switch {
		case len(selector) == 0 && p.Namespace == rootNamespace:
			mesh = cmp.Or(mesh, p)
		case len(selector) == 0:
			namespace = cmp.Or(namespace, p)
		case p.Namespace != rootNamespace && selects(selector, labels):
			workload = cmp.Or(workload, p)
		}
	}
	out := MutualTLS{Workload: workload, mode: v1alpha1.MTLSModePermissive}
	for _, p := range []*securityv1.PeerAuthentication{mesh, namespace, workload} {
		if p != nil {
			out.mode = modeOr(p.Spec.GetMtls(), out.mode)
		}
	}
	if workload != nil {
		out.ports = map[uint32]v1alpha1.MTLSMode{}
		for port, m := range workload.Spec.GetPortLevelMtls() {
			out.ports[port] = modeOr(m, out.mode)
		}
	}
	return out
}

func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// modeOr returns the mode of a setting, or the inherited mode if it is not set.
func modeOr(m *securityv1beta1.PeerAuthentication_MutualTLS, inherited v1alpha1.MTLSMode) v1alpha1.MTLSMode {
	switch m.GetMode() {
	case securityv1beta1.PeerAuthentication_MutualTLS_STRICT:
		return v1alpha1.MTLSModeStrict
	case securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE:
		return v1alpha1.MTLSModePermissive
	case securityv1beta1.PeerAuthentication_MutualTLS_DISABLE:
		return v1alpha1.MTLSModeDisable
	case securityv1beta1.PeerAuthentication_MutualTLS_UNSET:
		return inherited
	default:
		return inherited
	}
}
