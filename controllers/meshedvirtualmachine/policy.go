// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"fmt"
	"slices"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/meshpolicy"
)

// declaredMode returns the mode that the spec declares for a TCP port: Disable
// for a port that bypasses the proxy.
func declaredMode(mvm *v1alpha1.MeshedVirtualMachine, p v1alpha1.Port) v1alpha1.MTLSMode {
	if p.RouteOrDefault() == v1alpha1.PortRouteDirect {
		return v1alpha1.MTLSModeDisable
	}
	spec := mvm.Spec.Mesh.MTLS
	if i := slices.IndexFunc(spec.Ports, func(m v1alpha1.PortMTLS) bool { return m.Name == p.Name }); i >= 0 {
		return spec.Ports[i].Mode
	}
	return spec.ModeOrDefault()
}

// effectiveMode returns the weakest mode that is in effect for a port in any
// live pod. While no pod exists, it returns the declared mode.
func (s *scope) effectiveMode(p v1alpha1.Port) v1alpha1.MTLSMode {
	mode := declaredMode(s.mvm, p)
	for i := range s.pods {
		got := meshpolicy.EffectiveMutualTLS(s.policies, s.rootNamespace, s.pods[i].Labels).Mode(p.TargetPortOrDefault())
		if i == 0 || slices.Index(strength, got) < slices.Index(strength, mode) {
			mode = got
		}
	}
	return mode
}

// meshPolicyEffective reports whether the mutual TLS modes that Istio applies to the
// guest's pods are the declared ones. Another PeerAuthentication that selects a pod
// and is older has precedence over the operator's.
func (s *scope) meshPolicyEffective() conditions.Condition {
	const t = v1alpha1.ConditionMeshPolicyEffective
	if s.policies == nil || s.children == nil || s.invalid != nil {
		return conditions.Unknown(t, v1alpha1.ReasonPending, notCheckedMessage)
	}
	if message := s.labelsMessage(); message != "" {
		return conditions.False(t, v1alpha1.ReasonPodLabelsChanged, message)
	}
	for i := range s.pods {
		merged := meshpolicy.EffectiveMutualTLS(s.policies, s.rootNamespace, s.pods[i].Labels)
		if own := merged.Workload; own != nil && own.Name == s.mvm.Name && own.Namespace == s.mvm.Namespace {
			continue
		}
		for _, p := range s.mvm.Spec.Ports {
			if p.ProtocolOrDefault() != v1alpha1.PortProtocolTCP {
				continue
			}
			declared, got := declaredMode(s.mvm, p), merged.Mode(p.TargetPortOrDefault())
			if got == declared {
				continue
			}
			return conditions.False(t, v1alpha1.ReasonShadowed, shadowedMessage(s.mvm, merged.Workload, s.pods[i].Name, p.Name, declared, got))
		}
	}
	return s.effectiveForClients()
}

func shadowedMessage(mvm *v1alpha1.MeshedVirtualMachine, winner *securityv1.PeerAuthentication, pod, port string, declared, got v1alpha1.MTLSMode) string {
	if winner == nil {
		return fmt.Sprintf("PeerAuthentication %s/%s does not apply to pod %s: port %q has mutual TLS mode %s instead of %s; check that the pod has the label %s=%s",
			mvm.Namespace, mvm.Name, pod, port, got, declared, v1alpha1.LabelMeshedVirtualMachine, mvm.Name)
	}
	return fmt.Sprintf("PeerAuthentication %s/%s selects pod %s and is older than the operator's, so Istio applies it instead: port %q has mutual TLS mode %s instead of %s; delete it, or change its selector so that it does not select the pod",
		winner.Namespace, winner.Name, pod, port, got, declared)
}
