// SPDX-License-Identifier: Apache-2.0

package children

import (
	"slices"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// requestAuthentication builds the RequestAuthentication of the guest's pods, or nil if
// the spec does not request one.
func requestAuthentication(in Input) *securityv1.RequestAuthentication {
	a := in.MVM.Spec.Mesh.Authentication
	if !a.IsSet() {
		return nil
	}
	ra := &securityv1.RequestAuthentication{ObjectMeta: meta(in.MVM, in.MVM.Name)}
	ra.SetGroupVersionKind(RequestAuthenticationKind)
	ra.Spec.Selector = guestSelector(in.MVM)
	if in.usesWaypoint() {
		ra.Spec.Selector, ra.Spec.TargetRefs = nil, serviceTarget(in.MVM)
	}
	ra.Spec.JwtRules = a.JWTRules.DeepCopy()
	return ra
}

// tokenRequiredPart is the part of the name of the policy that denies requests without
// a token. The name of an entry of mesh.authorization contains no dot.
const tokenRequiredPart = "authentication.required"

// tokenRequiredPolicy denies requests to the HTTP ports without a token of one of the
// issuers. A RequestAuthentication rejects only requests with an invalid token, and
// others of the namespace or of the mesh add issuers. A policy with action ALLOW would
// permit what mesh.allow and mesh.authorization do not.
func tokenRequiredPolicy(mvm *v1alpha1.MeshedVirtualMachine) *securityv1.AuthorizationPolicy {
	var principals []string
	for _, r := range mvm.Spec.Mesh.Authentication.JWTRules {
		if p := r.GetIssuer() + "/*"; !slices.Contains(principals, p) {
			principals = append(principals, p)
		}
	}
	return declaredPolicy(mvm, v1alpha1.Authorization{
		Name: tokenRequiredPart, Action: v1alpha1.AuthorizationActionDeny,
		Rules: v1alpha1.AuthorizationRules{{From: []*securityv1beta1.Rule_From{{Source: &securityv1beta1.Source{NotRequestPrincipals: principals}}}}},
	})
}
