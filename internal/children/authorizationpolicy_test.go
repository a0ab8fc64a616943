// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	securityv1beta1 "istio.io/api/security/v1beta1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
)

// authorized returns a guest with a policy for each action.
func authorized() *b.MVMBuilder {
	return b.MVM("web").Ports(b.HTTP("http", 80, 8080), v1alpha1.Port{Name: "grpc", Port: 9000}, b.TCP("db", 5432), b.Direct("ssh", 22)).
		Allow(v1alpha1.AllowedClient{ServiceAccount: "frontend/web"}).
		Authorization(
			v1alpha1.Authorization{Name: "read", Action: v1alpha1.AuthorizationActionAllow, Rules: v1alpha1.AuthorizationRules{{
				From: []*securityv1beta1.Rule_From{{Source: &securityv1beta1.Source{Namespaces: []string{"shop"}, NotIpBlocks: []string{"192.0.2.0/24"}}}},
				To:   []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Methods: []string{"GET"}, Paths: []string{"/public/*"}, Hosts: []string{"web"}}}},
			}}},
			v1alpha1.Authorization{Name: "no-delete", Action: v1alpha1.AuthorizationActionDeny, Rules: v1alpha1.AuthorizationRules{
				{To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Methods: []string{"DELETE"}}}, {Operation: &securityv1beta1.Operation{Methods: []string{"PUT"}, Ports: []string{"8080"}}}}},
				{When: []*securityv1beta1.Condition{{Key: "request.headers[x-debug]", Values: []string{"*"}}}},
				{From: []*securityv1beta1.Rule_From{{Source: &securityv1beta1.Source{ServiceAccounts: []string{"batch"}}}}, To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{NotPorts: []string{"5432"}}}}},
			}},
			v1alpha1.Authorization{Name: "log", Action: v1alpha1.AuthorizationActionAudit, Rules: v1alpha1.AuthorizationRules{{}}},
			v1alpha1.Authorization{Name: "external", Action: v1alpha1.AuthorizationActionCustom, Provider: "opa", Rules: v1alpha1.AuthorizationRules{{
				To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Paths: []string{"/admin/{**}"}, Ports: []string{"8080"}}}},
			}}})
}

// withWaypoint has policies of a waypoint of another namespace.
func withWaypoint() *b.MVMBuilder {
	return b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient).Waypoint("waypoint", "mesh").
		Ports(b.HTTP("http", 80, 8080), b.HTTP("http-alt", 8081, 8080), b.TCP("db", 5432), b.Direct("ssh", 22)).
		Allow(v1alpha1.AllowedClient{ServiceAccount: "frontend/web", Ports: []string{"http"}}).
		Authorization(v1alpha1.Authorization{Name: "no-delete", Action: v1alpha1.AuthorizationActionDeny, Rules: v1alpha1.AuthorizationRules{
			{To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Methods: []string{"DELETE"}}}}},
			{To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{NotPorts: []string{"8080"}}}}},
			{When: []*securityv1beta1.Condition{{Key: "destination.port", Values: []string{"5432"}, NotValues: []string{"8080"}}}},
		}}).
		Authentication("", &securityv1beta1.JWTRule{Issuer: "https://accounts.example.com", Jwks: keys("1")})
}
