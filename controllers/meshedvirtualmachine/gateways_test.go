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

// TestGateways gives the spec two hosts and two Gateways.
func TestGateways(t *testing.T) {
	const shop, ingress = builders.DefaultNamespace + "/public", "ingress/public"
	for name, tc := range map[string]struct {
		// hosts are those of the existing Gateways.
		hosts   map[string]string
		status  metav1.ConditionStatus
		reason  v1alpha1.ConditionReason
		message string
	}{
		"one does not exist": {
			map[string]string{shop: "*"},
			metav1.ConditionFalse, v1alpha1.ReasonGatewayNotFound,
			"Gateway ingress/public, which mesh.routes.gateways of MeshedVirtualMachine web names, does not exist: create it",
		},
		"one permits no host": {
			map[string]string{shop: "*", ingress: "./*"},
			metav1.ConditionFalse, v1alpha1.ReasonGatewayRefusesHost,
			"Gateway ingress/public has no server for host a.example.com, b.example.com of namespace shop, so that requests for it do not reach the guest: add the host to the hosts of a server with protocol HTTP, or HTTPS that the gateway terminates",
		},
		"one host is not permitted": {
			map[string]string{shop: "a.example.com", ingress: "shop/a.example.com"},
			metav1.ConditionFalse, v1alpha1.ReasonGatewayRefusesHost,
			"none of the Gateways shop/public, ingress/public has a server for host b.example.com of namespace shop",
		},
		"each permits one host": {map[string]string{shop: "a.example.com", ingress: "b.example.com"}, metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"not read":              {nil, metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := withIstio(func(s *scope) {
				s.mvm.Spec.Mesh.Routes = v1alpha1.RoutesSpec{Hosts: []string{"a.example.com", "b.example.com"}, Gateways: []string{"public", ingress}}
				if tc.hosts != nil {
					s.gateways = map[string]*networkingv1.Gateway{}
				}
				for key, host := range tc.hosts {
					namespace, name, _ := strings.Cut(key, "/")
					g := &networkingv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
					g.Spec.Servers = []*networkingv1alpha3.Server{{Port: &networkingv1alpha3.Port{Number: 80, Protocol: "HTTP"}, Hosts: []string{host}}}
					s.gateways[key] = g
				}
			})
			all := s.conditions()
			c, _ := conditions.Find(all, v1alpha1.ConditionMeshPolicyEffective)
			if c.Status != tc.status || c.Reason != tc.reason || !strings.Contains(c.Message, tc.message) {
				t.Errorf("condition %+v, want %s, %s, %q", c, tc.status, tc.reason, tc.message)
			}
			if stalled, _ := conditions.Find(all, v1alpha1.ConditionStalled); (stalled.Status == metav1.ConditionTrue) != (tc.status == metav1.ConditionFalse) {
				t.Errorf("Stalled is %+v", stalled)
			}
		})
	}
}
