// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"strings"
	"testing"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/conditions"
)

// TestOtherSidecarsAndEntries adds a Sidecar that selects the pod, and a ServiceEntry with the
// host of the Service.
func TestOtherSidecarsAndEntries(t *testing.T) {
	sidecar := func(s *scope) {
		for i, name := range []string{"other", s.mvm.Name} {
			o := &networkingv1.Sidecar{ObjectMeta: older(builders.DefaultNamespace, name)}
			if i == 1 {
				o.CreationTimestamp = builders.Epoch
			}
			o.Spec.WorkloadSelector = &networkingv1alpha3.WorkloadSelector{Labels: map[string]string{v1alpha1.LabelMeshedVirtualMachine: s.mvm.Name}}
			s.sidecars = append(s.sidecars, o)
		}
	}
	egress := func(s *scope) { s.mvm.Spec.Mesh.Egress.Outbound = v1alpha1.OutboundModeRegistryOnly }
	entry := func(s *scope) {
		e := &networkingv1.ServiceEntry{ObjectMeta: older(builders.DefaultNamespace, "other")}
		e.Spec.Hosts, e.Spec.Resolution = []string{"web.shop.svc.cluster.local"}, networkingv1alpha3.ServiceEntry_STATIC
		e.Spec.Endpoints = []*networkingv1alpha3.WorkloadEntry{{Address: "192.0.2.1"}}
		s.entries = append(s.entries, e)
	}
	for name, tc := range map[string]struct {
		scope   *scope
		status  metav1.ConditionStatus
		message string
	}{
		"an older Sidecar":            {withIstio(egress, sidecar), metav1.ConditionFalse, "Sidecar shop/other selects pod virt-launcher-web-abcde and is older than the operator's, so Istio applies it instead of spec.mesh.egress: delete it"},
		"a Sidecar without an egress": {withIstio(sidecar), metav1.ConditionTrue, ""},
		"a ServiceEntry":              {withIstio(entry), metav1.ConditionFalse, "ServiceEntry shop/other also has host web.shop.svc.cluster.local, so Istio adds its endpoints"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := conditions.Find(tc.scope.conditions(), v1alpha1.ConditionMeshPolicyEffective)
			if c.Status != tc.status || !strings.Contains(c.Message, tc.message) || tc.status == metav1.ConditionFalse && c.Reason != v1alpha1.ReasonShadowed {
				t.Errorf("condition %+v, want %s and a message with %q", c, tc.status, tc.message)
			}
		})
	}
}
