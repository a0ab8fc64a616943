// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"fmt"
	"slices"

	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/meshpolicy"
)

// effectiveMode returns the weakest mode that is in effect for a port in any
// live pod. While no pod exists, it returns the declared mode.
func (s *scope) effectiveMode(p v1alpha1.Port) v1alpha1.MTLSMode {
	if len(s.pods) == 0 {
		return s.mvm.Spec.MTLSModeOf(p)
	}
	mode := v1alpha1.MTLSModeStrict
	for i := range s.pods {
		mode = weaker(mode, s.mutualTLS(s.pods[i].Labels).Mode(p.TargetPortOrDefault()))
	}
	return mode
}

// weakestByRules returns the weakest of a mode and the modes that are in effect for
// the ports that the rules of the live pods redirect to the proxy.
func (s *scope) weakestByRules(mode v1alpha1.MTLSMode) v1alpha1.MTLSMode {
	for _, g := range s.guestPods {
		if g.nat == nil {
			continue
		}
		merged := s.mutualTLS(g.Labels)
		for _, port := range g.nat.Spec.Inbound.Mesh {
			mode = weaker(mode, merged.Mode(port))
			if read := g.proxyMode(port); read != "" {
				mode = weaker(mode, read)
			}
		}
	}
	return mode
}

// strength orders the modes from the weakest to the strongest.
var strength = []v1alpha1.MTLSMode{v1alpha1.MTLSModeDisable, v1alpha1.MTLSModePermissive, v1alpha1.MTLSModeStrict}

func weaker(a, b v1alpha1.MTLSMode) v1alpha1.MTLSMode {
	return strength[min(slices.Index(strength, a), slices.Index(strength, b))]
}

func (s *scope) mutualTLS(labels map[string]string) meshpolicy.MutualTLS {
	return meshpolicy.EffectiveMutualTLS(s.policies, s.rootNamespace, labels)
}

// meshPolicyEffective reports whether the mutual TLS modes that Istio applies to the
// guest's pods are the declared ones. Another PeerAuthentication that selects a pod
// and is older has precedence over the operator's, and another client can have changed
// the operator's.
func (s *scope) meshPolicyEffective() conditions.Condition {
	const t = v1alpha1.ConditionMeshPolicyEffective
	if s.policies == nil || s.children == nil || s.invalid != nil {
		return conditions.Unknown(t, v1alpha1.ReasonPending, s.notCheckedMessage())
	}
	if message := s.labelsMessage(); message != "" {
		return conditions.False(t, v1alpha1.ReasonPodLabelsChanged, message)
	}
	for i := range s.pods {
		merged := s.mutualTLS(s.pods[i].Labels)
		for _, p := range s.mvm.Spec.Ports {
			if p.ProtocolOrDefault() != v1alpha1.PortProtocolTCP {
				continue
			}
			declared, got := s.mvm.Spec.MTLSModeOf(p), merged.Mode(p.TargetPortOrDefault())
			if got == declared {
				continue
			}
			effect := fmt.Sprintf("port %q has mutual TLS mode %s instead of %s", p.Name, got, declared)
			reason, message := s.whyDifferent(merged.Workload, s.pods[i].Name, effect)
			return conditions.False(t, reason, message)
		}
	}
	return s.effectiveForClients()
}

// whyDifferent returns the reason and the message for a pod with a mode that differs
// from the declared one. The winner is the PeerAuthentication that applies to the pod.
func (s *scope) whyDifferent(winner *securityv1.PeerAuthentication, pod, effect string) (reason v1alpha1.ConditionReason, message string) {
	own := s.mvm.Namespace + "/" + s.mvm.Name
	switch {
	case winner == nil:
		return v1alpha1.ReasonShadowed, fmt.Sprintf("PeerAuthentication %s does not apply to pod %s: %s; check that the pod has the label %s",
			own, pod, effect, labels.FormatLabels(children.GuestLabels(s.mvm)))
	case !s.isChild(winner):
		return v1alpha1.ReasonShadowed, fmt.Sprintf("PeerAuthentication %s/%s selects pod %s and is older than the operator's, so Istio applies it instead: %s; delete it, or change its selector so that it does not select the pod",
			winner.Namespace, winner.Name, pod, effect)
	case !metav1.IsControlledBy(winner, s.mvm):
		return v1alpha1.ReasonShadowed, fmt.Sprintf("PeerAuthentication %s selects pod %s and is not controlled by this MeshedVirtualMachine: %s; see condition MeshPolicyApplied", own, pod, effect)
	case s.failures[s.childKey(children.Kind{GroupVersionKind: children.PeerAuthenticationKind})] != nil:
		return v1alpha1.ReasonOutOfDate, fmt.Sprintf("PeerAuthentication %s of the operator differs from the spec: %s of pod %s; see condition MeshPolicyApplied", own, effect, pod)
	default:
		return v1alpha1.ReasonShadowed, fmt.Sprintf("another client changed PeerAuthentication %s of the operator: %s of pod %s; remove the entry from its spec.portLevelMtls", own, effect, pod)
	}
}
