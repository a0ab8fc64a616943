// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"strings"
	"testing"
	"time"

	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
)

// peerAuthentication returns a PeerAuthentication with the given age that
// selects the pods of "web". The direct port of the world's guest is declared as Disable.
func peerAuthentication(name string, age time.Duration, mode securityv1beta1.PeerAuthentication_MutualTLS_Mode) *securityv1.PeerAuthentication {
	p := &securityv1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{
		Namespace: builders.DefaultNamespace, Name: name, CreationTimestamp: metav1.NewTime(builders.Epoch.Add(-age)),
	}}
	p.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{v1alpha1.LabelMeshedVirtualMachine: "web"}}
	p.Spec.Mtls = &securityv1beta1.PeerAuthentication_MutualTLS{Mode: mode}
	p.Spec.PortLevelMtls = map[uint32]*securityv1beta1.PeerAuthentication_MutualTLS{22: {Mode: securityv1beta1.PeerAuthentication_MutualTLS_DISABLE}}
	return p
}

// ownPermits sets the mode of the operator's PeerAuthentication to PERMISSIVE.
func ownPermits(s *scope) {
	s.policies[0].Spec.Mtls.Mode = securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE
}

// TestMeshPolicyEffective checks that the status does not report a mode that
// Istio does not apply.
func TestMeshPolicyEffective(t *testing.T) {
	const (
		strict     = securityv1beta1.PeerAuthentication_MutualTLS_STRICT
		permissive = securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE
	)
	add := func(p *securityv1.PeerAuthentication) func(*scope) {
		return func(s *scope) { s.policies = append(s.policies, p) }
	}
	differs := fails(children.PeerAuthenticationKind, apply.ErrDiffers)
	conflicts := func(s *scope) {
		fails(children.PeerAuthenticationKind, apply.ErrConflict)(s)
		delete(s.children, key(children.PeerAuthenticationKind))
	}
	for name, tc := range map[string]struct {
		scope  *scope
		status metav1.ConditionStatus
		mode   v1alpha1.MTLSMode
		names  string
		reason v1alpha1.ConditionReason
	}{
		"only the operator's":          {world(), metav1.ConditionTrue, v1alpha1.MTLSModeStrict, "", v1alpha1.ReasonEffective},
		"an older, weaker one":         {world(add(peerAuthentication("legacy", time.Hour, permissive))), metav1.ConditionFalse, v1alpha1.MTLSModePermissive, "PeerAuthentication shop/legacy selects pod", v1alpha1.ReasonShadowed},
		"an older one, equally strong": {world(add(peerAuthentication("legacy", time.Hour, strict))), metav1.ConditionTrue, v1alpha1.MTLSModeStrict, "", v1alpha1.ReasonEffective},
		"a younger, weaker one":        {world(add(peerAuthentication("late", time.Second, permissive))), metav1.ConditionTrue, v1alpha1.MTLSModeStrict, "", v1alpha1.ReasonEffective},
		"a pod without the label": {world(func(s *scope) {
			delete(s.pods[0].Labels, v1alpha1.LabelMeshedVirtualMachine)
		}), metav1.ConditionFalse, v1alpha1.MTLSModePermissive, "label --overwrite pod virt-launcher-web-", v1alpha1.ReasonPodLabelsChanged},
		"a guest that is older than the MeshedVirtualMachine": {world(func(s *scope) {
			delete(s.pods[0].Labels, v1alpha1.LabelMeshedVirtualMachine)
			delete(s.vmi.Labels, v1alpha1.LabelMeshedVirtualMachine)
		}), metav1.ConditionFalse, v1alpha1.MTLSModePermissive, "restart the guest", v1alpha1.ReasonPodLabelsChanged},
		"the operator's, edited while paused": {
			world(ownPermits, differs, func(s *scope) { s.paused = true }), metav1.ConditionFalse, v1alpha1.MTLSModeDisable,
			"paused by the annotation meshvm.io/paused; remove it to resume: PeerAuthentication shop/web of the operator differs from the spec: port \"http\" has mutual TLS mode Permissive", v1alpha1.ReasonOutOfDate,
		},
		"the operator's, not written": {
			world(ownPermits, differs), metav1.ConditionFalse, v1alpha1.MTLSModeDisable,
			"differs from the spec: port \"http\" has mutual TLS mode Permissive instead of Strict", v1alpha1.ReasonOutOfDate,
		},
		"a port that another client added to the operator's": {
			world(func(s *scope) {
				s.policies[0].Spec.PortLevelMtls[8080] = &securityv1beta1.PeerAuthentication_MutualTLS{Mode: permissive}
			}), metav1.ConditionFalse, v1alpha1.MTLSModePermissive,
			"another client changed PeerAuthentication shop/web of the operator", v1alpha1.ReasonShadowed,
		},
		"a foreign one of the same name": {
			world(ownPermits, conflicts, func(s *scope) { s.policies[0].OwnerReferences = nil }), metav1.ConditionFalse, v1alpha1.MTLSModeDisable,
			"PeerAuthentication shop/web selects pod virt-launcher-web-abcde and is not controlled by this MeshedVirtualMachine", v1alpha1.ReasonShadowed,
		},
		"policies not read": {world(func(s *scope) { s.policies = nil }), metav1.ConditionUnknown, v1alpha1.MTLSModeDisable, "", v1alpha1.ReasonPending},
	} {
		t.Run(name, func(t *testing.T) {
			tc.scope.writeStatus()
			all := tc.scope.conditions()
			c, _ := conditions.Find(all, v1alpha1.ConditionMeshPolicyEffective)
			if c.Status != tc.status || c.Reason != tc.reason || !strings.Contains(c.Message, tc.names) {
				t.Errorf("condition %+v, want %s, %s and a message with %q", c, tc.status, tc.reason, tc.names)
			}
			ready, _ := conditions.Find(all, v1alpha1.ConditionReady)
			if (ready.Status == metav1.ConditionTrue) != (tc.status == metav1.ConditionTrue) {
				t.Errorf("Ready is %s", ready.Status)
			}
			if got := tc.scope.mvm.Status.MTLS.EffectiveMode; got != tc.mode {
				t.Errorf("effectiveMode is %s, want %s", got, tc.mode)
			}
		})
	}
}
