// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/api/security/v1beta1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
	"meshvm.io/meshvm/internal/validate/validatetest"
)

func TestWaypoint(t *testing.T) {
	const at, label = "InvalidSpec spec.mesh.waypoint", "InvalidSpec spec.service.labels"
	guest := func(name, namespace string) *b.MVMBuilder {
		return b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient).Waypoint(name, namespace)
	}
	policies := func(m *b.MVMBuilder) *b.MVMBuilder {
		return m.Authorization(
			v1alpha1.Authorization{Name: "read", Action: v1alpha1.AuthorizationActionAllow, Rules: v1alpha1.AuthorizationRules{{To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Methods: []string{"GET"}}}}}}},
			v1alpha1.Authorization{Name: "log", Action: v1alpha1.AuthorizationActionAudit, Rules: v1alpha1.AuthorizationRules{{}}},
			v1alpha1.Authorization{Name: "ask", Action: v1alpha1.AuthorizationActionCustom, Provider: "opa", Rules: v1alpha1.AuthorizationRules{{}}},
		).Authentication("", &securityv1beta1.JWTRule{Issuer: "https://accounts.example.com"})
	}
	const required = "WaypointRequired spec.mesh."
	for name, tc := range map[string]struct {
		mvm  *b.MVMBuilder
		want []string
	}{
		"own namespace":          {guest("waypoint", ""), nil},
		"another namespace":      {guest("waypoint", "mesh"), nil},
		"policies of requests":   {policies(guest("waypoint", "")), nil},
		"the same without it":    {policies(b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient)), []string{required + "authorization[0].rules[0]", required + "authorization[1].action", required + "authorization[2].action", required + "authentication"}},
		"only a namespace":       {guest("", "mesh"), []string{at + ".name"}},
		"Istio's name for none":  {guest("none", ""), []string{at + ".name"}},
		"two names":              {guest("mesh/waypoint", ""), []string{at + ".name"}},
		"namespace and a name":   {guest("waypoint", "mesh/waypoint"), []string{at + ".namespace"}},
		"sidecar":                {guest("waypoint", "").DataPlane(v1alpha1.DataPlaneSidecar), []string{at}},
		"no ports":               {guest("waypoint", "").NoPorts(), []string{at}},
		"headless":               {guest("waypoint", "").ServiceType(v1alpha1.ServiceTypeHeadless).Ports(b.HTTP("http", 80, 80)), []string{at}},
		"shared Service":         {guest("waypoint", "").Service(v1alpha1.ServiceSpec{Name: "shop"}), []string{at}},
		"its label":              {guest("waypoint", "").Service(v1alpha1.ServiceSpec{Labels: map[string]string{"istio.io/use-waypoint": "other"}}), []string{label + "[istio.io/use-waypoint]"}},
		"its label, no waypoint": {b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient).Service(v1alpha1.ServiceSpec{Labels: map[string]string{"istio.io/use-waypoint": "other"}}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := validatetest.Rejections(validate.Spec(tc.mvm.Obj()))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
}
