// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"testing"
	"time"

	securityv1beta1 "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/conditions"
)

// withProxy adds the state of the pod's proxy with a mode for port 8080.
func withProxy(mode v1alpha1.MTLSMode, reason v1alpha1.ConditionReason) func(*scope) {
	return func(s *scope) {
		n := s.nats[s.pods[0].UID]
		n.Status.Proxy = v1alpha1.ProxyStatus{
			Kind: v1alpha1.ProxyKindEnvoy, ContainerStarted: &builders.Epoch,
			Inbound: []v1alpha1.ProxyPort{{Port: 8080, Mode: mode}},
		}
		s.pods[0].Status.InitContainerStatuses = []corev1.ContainerStatus{{
			Name: "istio-proxy", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: builders.Epoch}},
		}}
		status := metav1.ConditionFalse
		if reason == v1alpha1.ReasonConfigured {
			status = metav1.ConditionTrue
		}
		n.Status.Conditions = append(n.Status.Conditions, metav1.Condition{
			Type: string(v1alpha1.ConditionProxyConfigured), Status: status, Reason: string(reason), ObservedGeneration: 1,
		})
		s.nats[s.pods[0].UID] = n
	}
}

func TestModeOfProxies(t *testing.T) {
	const (
		isStrict, isPermissive, isDisabled = v1alpha1.MTLSModeStrict, v1alpha1.MTLSModePermissive, v1alpha1.MTLSModeDisable
		byProxy, byPolicy                  = v1alpha1.MTLSSourceProxy, v1alpha1.MTLSSourcePolicy
	)
	weakened := func(s *scope) {
		s.policies = append(s.policies, peerAuthentication("legacy", time.Hour, securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE))
	}
	for name, tc := range map[string]struct {
		mods    []func(*scope)
		mode    v1alpha1.MTLSMode
		source  v1alpha1.MTLSSource
		applied v1alpha1.ConditionReason
	}{
		"not read":                               {nil, isStrict, byPolicy, v1alpha1.ReasonApplied},
		"runs the policies":                      {[]func(*scope){withProxy(isStrict, v1alpha1.ReasonConfigured)}, isStrict, byProxy, v1alpha1.ReasonApplied},
		"weaker than the policies":               {[]func(*scope){withProxy(isPermissive, v1alpha1.ReasonProxyDiffers)}, isPermissive, byProxy, v1alpha1.ReasonProxyDiffers},
		"without mutual TLS":                     {[]func(*scope){withProxy(isDisabled, v1alpha1.ReasonProxyDiffers)}, isDisabled, byProxy, v1alpha1.ReasonProxyDiffers},
		"a policy was weakened":                  {[]func(*scope){withProxy(isStrict, v1alpha1.ReasonProxyDiffers), weakened}, isPermissive, byPolicy, v1alpha1.ReasonProxyDiffers},
		"rejected":                               {[]func(*scope){withProxy(isStrict, v1alpha1.ReasonProxyRejected)}, isStrict, byProxy, v1alpha1.ReasonProxyRejected},
		"expired":                                {[]func(*scope){withProxy(isStrict, v1alpha1.ReasonCertificateInvalid)}, isStrict, byProxy, v1alpha1.ReasonCertificateInvalid},
		"without istiod":                         {[]func(*scope){withProxy(isStrict, v1alpha1.ReasonProxyStale)}, isStrict, byProxy, v1alpha1.ReasonApplied},
		"unreadable":                             {[]func(*scope){withProxy("", v1alpha1.ReasonProxyUnreadable), func(s *scope) { n := s.nats[s.pods[0].UID]; n.Status.Proxy.Inbound = nil; s.nats[s.pods[0].UID] = n }}, isStrict, byPolicy, v1alpha1.ReasonApplied},
		"policies changed, was weaker before":    {[]func(*scope){withProxy(isPermissive, v1alpha1.ReasonPending)}, isPermissive, byProxy, v1alpha1.ReasonApplied},
		"policies changed, was as strong before": {[]func(*scope){withProxy(isStrict, v1alpha1.ReasonPending)}, isStrict, byPolicy, v1alpha1.ReasonApplied},
		"restarted, was weaker before":           {[]func(*scope){withProxy(isPermissive, v1alpha1.ReasonPending), func(s *scope) { s.pods[0].Status = corev1.PodStatus{} }}, isStrict, byPolicy, v1alpha1.ReasonApplied},
		"a port that no chain accepts":           {[]func(*scope){withProxy("", v1alpha1.ReasonProxyDiffers), func(s *scope) { n := s.nats[s.pods[0].UID]; n.Status.Proxy.Inbound = nil; s.nats[s.pods[0].UID] = n }}, isStrict, byPolicy, v1alpha1.ReasonProxyDiffers},
		"rules that are not verified":            {[]func(*scope){setNAT(metav1.ConditionFalse, v1alpha1.ReasonDrifted, 1), withProxy(isStrict, v1alpha1.ReasonConfigured)}, isDisabled, byPolicy, v1alpha1.ReasonApplied},
	} {
		t.Run(name, func(t *testing.T) {
			s := world(tc.mods...)
			s.writeStatus()
			if got := s.mvm.Status.MTLS; got.EffectiveMode != tc.mode || got.Source != tc.source {
				t.Errorf("mode %s by %s, want %s by %s", got.EffectiveMode, got.Source, tc.mode, tc.source)
			}
			if c, _ := conditions.Find(s.conditions(), v1alpha1.ConditionMeshPolicyApplied); c.Reason != tc.applied {
				t.Errorf("MeshPolicyApplied has reason %s (%s), want %s", c.Reason, c.Message, tc.applied)
			}
		})
	}
}
