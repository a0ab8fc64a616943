// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/drift"
)

// servingPods returns the pods whose proxies accept connections for the guest: all pods,
// except the target of a migration before its rules are verified.
func (s *scope) servingPods() []guestPod {
	return slices.DeleteFunc(slices.Clone(s.guestPods), func(g guestPod) bool {
		return g.role == v1alpha1.PodRoleMigrationTarget && g.rules.Status != metav1.ConditionTrue
	})
}

// proxyReads are the reasons of ProxyConfigured with which status.proxy describes the proxy
// that runs with the policies that apply now.
var proxyReads = []v1alpha1.ConditionReason{
	v1alpha1.ReasonConfigured, v1alpha1.ReasonProxyRejected, v1alpha1.ReasonProxyDiffers,
	v1alpha1.ReasonCertificateInvalid, v1alpha1.ReasonProxyStale,
}

// proxyConfigured returns the condition ProxyConfigured of the pod, nil if it is absent.
func (g guestPod) proxyConfigured() *metav1.Condition {
	if g.nat == nil {
		return nil
	}
	return meta.FindStatusCondition(g.nat.Status.Conditions, string(v1alpha1.ConditionProxyConfigured))
}

// proxyCurrent reports whether the pod's proxy was read with the policies that apply now.
func (g guestPod) proxyCurrent() bool {
	c := g.proxyConfigured()
	return c != nil && slices.Contains(proxyReads, v1alpha1.ConditionReason(c.Reason))
}

// proxyMode returns the mode that the pod's proxy ran for a port when it was last read, or
// an empty string if this proxy was not read.
func (g guestPod) proxyMode(port int32) v1alpha1.MTLSMode {
	if g.nat == nil || !drift.ProxyKnown(&g.nat.Status, g.Pod) {
		return ""
	}
	for _, p := range g.nat.Status.Proxy.Inbound {
		if p.Port == port {
			return p.Mode
		}
	}
	return ""
}

// withProxies compares the weakest mode of the policies with the modes that the proxies of
// the guest run. The source is the proxies only if all of them were read for all ports via
// Mesh and none of them is stronger: a policy that was weakened meanwhile decides until
// the proxies are read again.
func (s *scope) withProxies(policy v1alpha1.MTLSMode) (v1alpha1.MTLSMode, v1alpha1.MTLSSource) {
	pods := s.servingPods()
	weakest, all := v1alpha1.MTLSModeStrict, len(pods) > 0
	for _, g := range pods {
		for _, p := range s.mvm.Spec.Ports {
			if p.ViaOrDefault() == v1alpha1.PortViaDirect {
				continue
			}
			mode := g.proxyMode(p.TargetPortOrDefault())
			all = all && mode != "" && g.proxyCurrent()
			if mode != "" {
				weakest = weaker(weakest, mode)
			}
		}
	}
	got := weaker(policy, weakest)
	if all && got == weakest {
		return got, v1alpha1.MTLSSourceProxy
	}
	if got != policy {
		// A proxy that was read decides, although others were not read.
		return got, v1alpha1.MTLSSourceProxy
	}
	return got, v1alpha1.MTLSSourcePolicy
}

// notConfigured returns the condition for the first pod whose proxy does not run what
// Istio's policies request. A proxy that could not be read, or that continues without
// istiod, does not contradict the policies.
func (s *scope) notConfigured(t v1alpha1.ConditionType) (c conditions.Condition, found bool) {
	contradicts := []v1alpha1.ConditionReason{v1alpha1.ReasonProxyRejected, v1alpha1.ReasonProxyDiffers, v1alpha1.ReasonCertificateInvalid}
	for _, g := range s.servingPods() {
		if c := g.proxyConfigured(); c != nil && slices.Contains(contradicts, v1alpha1.ConditionReason(c.Reason)) {
			return conditions.False(t, v1alpha1.ConditionReason(c.Reason), "pod "+g.Name+": "+c.Message), true
		}
	}
	return conditions.Condition{}, false
}
