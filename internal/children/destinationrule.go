// SPDX-License-Identifier: Apache-2.0

package children

import (
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// destinationRule builds the DestinationRule with the traffic policy and the subsets
// of the live pods. It is nil for a guest without a Service, and for a headless Service, which
// has no subset, without a traffic policy.
func destinationRule(in serviceInput) *networkingv1.DestinationRule {
	mvm := in.Lead()
	if len(mvm.Spec.Ports) == 0 || mvm.Spec.IsHeadless() && mvm.Spec.Mesh.TrafficPolicy == nil {
		return nil
	}
	dr := &networkingv1.DestinationRule{ObjectMeta: serviceMeta(in, in.Name)}
	dr.SetGroupVersionKind(DestinationRuleKind)
	dr.Spec.Host = in.host()
	dr.Spec.ExportTo = slices.Clone(mvm.Spec.Mesh.ExportTo)
	dr.Spec.TrafficPolicy = trafficPolicy(mvm)
	if !mvm.Spec.IsHeadless() {
		dr.Spec.Subsets = subsets(versionsOf(in))
	}
	return dr
}

// trafficPolicy returns the user's policy with one addition: TLS settings must
// not apply to ports that bypass the guest's proxy, because no proxy terminates
// TLS on these ports. Without TLS settings Istio derives this from the
// PeerAuthentication.
func trafficPolicy(mvm *v1alpha1.MeshedVirtualMachine) *networkingv1alpha3.TrafficPolicy {
	policy := mvm.Spec.Mesh.TrafficPolicy.DeepCopy()
	if policy.GetTls() == nil {
		return policy
	}
	for _, p := range directTCP(mvm.Spec.Ports) {
		if slices.ContainsFunc(policy.PortLevelSettings, func(s *networkingv1alpha3.TrafficPolicy_PortTrafficPolicy) bool {
			return s.GetPort().GetNumber() == v1alpha1.IstioPort(p.Port)
		}) {
			continue
		}
		policy.PortLevelSettings = append(policy.PortLevelSettings, &networkingv1alpha3.TrafficPolicy_PortTrafficPolicy{
			Port:             &networkingv1alpha3.PortSelector{Number: v1alpha1.IstioPort(p.Port)},
			LoadBalancer:     policy.LoadBalancer.DeepCopy(),
			ConnectionPool:   policy.ConnectionPool.DeepCopy(),
			OutlierDetection: policy.OutlierDetection.DeepCopy(),
			Tls:              &networkingv1alpha3.ClientTLSSettings{Mode: networkingv1alpha3.ClientTLSSettings_DISABLE},
		})
	}
	return policy
}

// directTCP returns the TCP ports that bypass the guest's proxy.
func directTCP(ports []v1alpha1.Port) []v1alpha1.Port {
	var out []v1alpha1.Port
	for _, p := range ports {
		if p.ProtocolOrDefault() == v1alpha1.PortProtocolTCP && p.ViaOrDefault() == v1alpha1.PortViaDirect {
			out = append(out, p)
		}
	}
	return out
}
