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
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/conditions"
)

// peerAuthentication returns a PeerAuthentication with the given age that
// selects the pods of "web".
func peerAuthentication(name string, age time.Duration, mode securityv1beta1.PeerAuthentication_MutualTLS_Mode) *securityv1.PeerAuthentication {
	p := &securityv1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{
		Namespace: builders.DefaultNamespace, Name: name, CreationTimestamp: metav1.NewTime(builders.Epoch.Add(-age)),
	}}
	p.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{v1alpha1.LabelMeshedVirtualMachine: "web"}}
	p.Spec.Mtls = &securityv1beta1.PeerAuthentication_MutualTLS{Mode: mode}
	return p
}

// TestMeshPolicyEffective checks that the status does not report a mode that
// Istio does not apply.
func TestMeshPolicyEffective(t *testing.T) {
	const (
		strict     = securityv1beta1.PeerAuthentication_MutualTLS_STRICT
		permissive = securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE
	)
	// add adds a policy. The direct port of the world's guest is declared as Disable.
	add := func(p *securityv1.PeerAuthentication) func(*scope) {
		return func(s *scope) {
			p.Spec.PortLevelMtls = map[uint32]*securityv1beta1.PeerAuthentication_MutualTLS{22: {Mode: securityv1beta1.PeerAuthentication_MutualTLS_DISABLE}}
			s.policies = append(s.policies, p)
		}
	}
	for name, tc := range map[string]struct {
		scope  *scope
		status metav1.ConditionStatus
		mode   v1alpha1.MTLSMode
		names  string
	}{
		"only the operator's":          {world(), metav1.ConditionTrue, v1alpha1.MTLSModeStrict, ""},
		"an older, weaker one":         {world(add(peerAuthentication("legacy", time.Hour, permissive))), metav1.ConditionFalse, v1alpha1.MTLSModePermissive, "shop/legacy"},
		"an older one, equally strong": {world(add(peerAuthentication("legacy", time.Hour, strict))), metav1.ConditionTrue, v1alpha1.MTLSModeStrict, ""},
		"a younger, weaker one":        {world(add(peerAuthentication("late", time.Second, permissive))), metav1.ConditionTrue, v1alpha1.MTLSModeStrict, ""},
		"a pod without the label": {world(func(s *scope) {
			delete(s.pods[0].Labels, v1alpha1.LabelMeshedVirtualMachine)
		}), metav1.ConditionFalse, v1alpha1.MTLSModePermissive, "label --overwrite pod virt-launcher-web-"},
		"policies not read": {world(func(s *scope) { s.policies = nil }), metav1.ConditionUnknown, v1alpha1.MTLSModeDisable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tc.scope.writeStatus()
			all := tc.scope.conditions()
			c, _ := conditions.Find(all, v1alpha1.ConditionMeshPolicyEffective)
			if c.Status != tc.status || !strings.Contains(c.Message, tc.names) {
				t.Errorf("condition %+v, want %s and a message with %q", c, tc.status, tc.names)
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
