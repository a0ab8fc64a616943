// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/internal/children"
)

// waypointBoundCondition is the condition of a Service that istiod writes (Istio,
// pilot/pkg/model, ServiceInfo.GetConditions). If it is True, its message contains the
// namespace and the name of the waypoint.
const waypointBoundCondition = "istio.io/WaypointBound"

// waypointBound returns whether Istio has bound the Service to the waypoint of the spec,
// and a message if that is not so. It is Unknown if istiod has not written a condition for
// this waypoint, and True if the spec has none.
func (s *scope) waypointBound() (status metav1.ConditionStatus, message string) {
	if !s.mvm.Spec.Mesh.Waypoint.IsSet() {
		return metav1.ConditionTrue, ""
	}
	name := s.mvm.WaypointNamespace() + "/" + s.mvm.Spec.Mesh.Waypoint.Name
	effect := ""
	if s.mvm.Spec.RestrictsClients() || s.mvm.Spec.Mesh.Authentication.IsSet() {
		effect = " and all connections to the guest are denied"
	}
	c := istioCondition(s.child(children.ServiceKind))
	text, _ := c["message"].(string)
	named := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(` ".,`, r) })
	switch {
	case c == nil || !slices.Contains(named, name):
		return metav1.ConditionUnknown, fmt.Sprintf("istiod has not reported whether Service %s is bound to waypoint %s (its condition %s): check that istiod runs in ambient mode", s.mvm.ServiceName(), name, waypointBoundCondition)
	case c["status"] != string(metav1.ConditionTrue):
		return metav1.ConditionFalse, fmt.Sprintf("Istio has not bound Service %s to waypoint %s, so that its policies and routes do not apply%s: %s (%v); check that the Gateway exists with the class istio-waypoint, that its pods are ready, and that its allowedRoutes permit namespace %s",
			s.mvm.ServiceName(), name, effect, text, c["reason"], s.mvm.Namespace)
	}
	return metav1.ConditionTrue, ""
}

// istioCondition returns istiod's condition of a Service, or nil if it has none.
func istioCondition(service *unstructured.Unstructured) map[string]any {
	if service == nil {
		return nil
	}
	all, _, _ := unstructured.NestedSlice(service.Object, "status", "conditions")
	for _, c := range all {
		if c, ok := c.(map[string]any); ok && c["type"] == waypointBoundCondition {
			return c
		}
	}
	return nil
}
