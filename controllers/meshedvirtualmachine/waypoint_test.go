// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
)

// TestWaypointBound gives the Service a condition of istiod (Istio,
// pilot/pkg/serviceregistry/ambient, status.go).
func TestWaypointBound(t *testing.T) {
	const bound = "Successfully attached to waypoint shop/waypoint"
	for name, tc := range map[string]struct {
		status, text string
		denied       bool
		want         metav1.ConditionStatus
		reason       v1alpha1.ConditionReason
		message      string
	}{
		"bound":                    {"True", bound, false, metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"bound, with ingress":      {"True", bound + ". Ingress traffic will traverse the waypoint", true, metav1.ConditionTrue, v1alpha1.ReasonEffective, ""},
		"not ready":                {"False", `waypoint "shop/waypoint" is not ready`, false, metav1.ConditionFalse, v1alpha1.ReasonWaypointNotReady, `do not apply: waypoint "shop/waypoint" is not ready (Reason)`},
		"not permitted, clients":   {"False", `we are not permitted to attach to waypoint "shop/waypoint" (missing allowedRoutes?)`, true, metav1.ConditionFalse, v1alpha1.ReasonWaypointNotReady, "do not apply and all connections to the guest are denied"},
		"bound to another":         {"True", "Successfully attached to waypoint shop/waypoint-2", false, metav1.ConditionUnknown, v1alpha1.ReasonPending, "has not reported whether Service web is bound to waypoint shop/waypoint"},
		"another namespace":        {"True", "Successfully attached to waypoint other-shop/waypoint", false, metav1.ConditionUnknown, v1alpha1.ReasonPending, "has not reported"},
		"no condition of Istio":    {"", "", false, metav1.ConditionUnknown, v1alpha1.ReasonPending, "check that istiod runs in ambient mode"},
		"no condition of the name": {"True", "", false, metav1.ConditionUnknown, v1alpha1.ReasonPending, "has not reported"},
	} {
		t.Run(name, func(t *testing.T) {
			s := withIstio(func(s *scope) {
				s.pods[0].Spec.Containers, s.pods[0].Spec.InitContainers = nil, nil
				s.pods[0].Labels[v1alpha1.LabelDataPlaneMode] = v1alpha1.DataPlaneModeAmbient
				s.mvm.Spec.Mesh.DataPlane, s.mvm.Spec.Mesh.Waypoint.Name = v1alpha1.DataPlaneAmbient, "waypoint"
				if tc.denied {
					s.mvm.Spec.Mesh.Authentication.Mode = v1alpha1.AuthenticationModeRequired
				}
				if tc.status == "" {
					return
				}
				c := map[string]any{"type": waypointBoundCondition, "status": tc.status, "reason": "Reason", "message": tc.text}
				service := s.children[key(children.ServiceKind)]
				if err := unstructured.SetNestedSlice(service.Object, []any{map[string]any{"type": "Other"}, c}, "status", "conditions"); err != nil {
					t.Fatal(err)
				}
			})
			all := s.conditions()
			c, _ := conditions.Find(all, v1alpha1.ConditionMeshPolicyEffective)
			if c.Status != tc.want || c.Reason != tc.reason || !strings.Contains(c.Message, tc.message) {
				t.Errorf("%s is %s (%s): %s", c.Type, c.Status, c.Reason, c.Message)
			}
			if ready, _ := conditions.Find(all, v1alpha1.ConditionReady); (ready.Status == metav1.ConditionTrue) != (tc.want == metav1.ConditionTrue) {
				t.Errorf("Ready is %s (%s)", ready.Status, ready.Reason)
			}
		})
	}
}
