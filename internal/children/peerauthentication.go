// SPDX-License-Identifier: Apache-2.0

package children

import (
	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

type mutualTLS = securityv1beta1.PeerAuthentication_MutualTLS

// peerAuthentication builds the PeerAuthentication of the guest's pods. The
// modes of individual ports are keyed by the number on which the guest listens
// (Istio, PeerAuthentication.portLevelMtls).
func peerAuthentication(in Input) *securityv1.PeerAuthentication {
	mvm := in.MVM
	pa := &securityv1.PeerAuthentication{ObjectMeta: meta(mvm, mvm.Name)}
	pa.SetGroupVersionKind(PeerAuthenticationKind)
	pa.Spec.Selector = guestSelector(mvm)
	pa.Spec.Mtls = &mutualTLS{Mode: mtlsMode(mvm.Spec.Mesh.MTLS.Mode)}
	ports := map[uint32]*mutualTLS{}
	for _, p := range mvm.Spec.Ports {
		if p.MTLS != "" {
			ports[v1alpha1.IstioPort(p.TargetPortOrDefault())] = &mutualTLS{Mode: mtlsMode(p.MTLS)}
		}
	}
	// No proxy terminates mutual TLS on a port that bypasses the guest's proxy.
	// The proxies of clients would still use it, because the pod has a sidecar,
	// unless the policy of the port disables it (Istio,
	// pilot/pkg/xds/endpoints/mtls_checker.go).
	for _, p := range directTCP(mvm.Spec.Ports) {
		ports[v1alpha1.IstioPort(p.TargetPortOrDefault())] = &mutualTLS{Mode: securityv1beta1.PeerAuthentication_MutualTLS_DISABLE}
	}
	if len(ports) > 0 {
		pa.Spec.PortLevelMtls = ports
	}
	return pa
}

func mtlsMode(m v1alpha1.MTLSMode) securityv1beta1.PeerAuthentication_MutualTLS_Mode {
	switch m {
	case v1alpha1.MTLSModePermissive:
		return securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE
	case v1alpha1.MTLSModeDisable:
		return securityv1beta1.PeerAuthentication_MutualTLS_DISABLE
	case v1alpha1.MTLSModeStrict:
		return securityv1beta1.PeerAuthentication_MutualTLS_STRICT
	default:
		return securityv1beta1.PeerAuthentication_MutualTLS_STRICT
	}
}
