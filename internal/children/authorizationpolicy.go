// SPDX-License-Identifier: Apache-2.0

package children

import (
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshpolicy"
)

// authorizationPolicies builds the AuthorizationPolicies of the guest's pods: one
// with the name of the MeshedVirtualMachine for mesh.allow, one for each entry of
// mesh.authorization, and one if mesh.authentication requires a token. With a waypoint,
// they apply to the waypoint, and another one closes the way around it.
func authorizationPolicies(in Input) ([]Object, error) {
	var out []*securityv1.AuthorizationPolicy
	if len(in.MVM.Spec.Mesh.Allow) > 0 {
		out = append(out, allowPolicy(in.MVM))
	}
	for _, a := range in.MVM.Spec.Mesh.Authorization {
		out = append(out, declaredPolicy(in.MVM, a))
	}
	if a := in.MVM.Spec.Mesh.Authentication; a.IsSet() && a.ModeOrDefault() == v1alpha1.AuthenticationModeRequired {
		out = append(out, tokenRequiredPolicy(in.MVM))
	}
	if in.usesWaypoint() && (len(out) > 0 || in.MVM.Spec.Mesh.Authentication.IsSet()) {
		for _, ap := range out {
			attachToWaypoint(in.MVM, ap)
		}
		out = append(out, onlyWaypoint(in.MVM))
	}
	return objectsOf(out), nil
}

func authorizationPolicy(mvm *v1alpha1.MeshedVirtualMachine, name string, action v1alpha1.AuthorizationAction) *securityv1.AuthorizationPolicy {
	ap := &securityv1.AuthorizationPolicy{ObjectMeta: meta(mvm, name)}
	ap.SetGroupVersionKind(AuthorizationPolicyKind)
	ap.Spec.Selector = guestSelector(mvm)
	ap.Spec.Action = actions[action]
	// Another client must not disable the policy. The operator restores only
	// annotations that it sets. Istio rejects this one for other actions.
	if action == v1alpha1.AuthorizationActionAllow || action == v1alpha1.AuthorizationActionDeny {
		ap.Annotations = map[string]string{annotation.IoIstioDryRun.Name: "false"}
	}
	return ap
}

var actions = map[v1alpha1.AuthorizationAction]securityv1beta1.AuthorizationPolicy_Action{
	v1alpha1.AuthorizationActionAllow:  securityv1beta1.AuthorizationPolicy_ALLOW,
	v1alpha1.AuthorizationActionDeny:   securityv1beta1.AuthorizationPolicy_DENY,
	v1alpha1.AuthorizationActionAudit:  securityv1beta1.AuthorizationPolicy_AUDIT,
	v1alpha1.AuthorizationActionCustom: securityv1beta1.AuthorizationPolicy_CUSTOM,
}

// guestSelector selects the pods of the guest in Istio's policies.
func guestSelector(mvm *v1alpha1.MeshedVirtualMachine) *typev1beta1.WorkloadSelector {
	return &typev1beta1.WorkloadSelector{MatchLabels: GuestLabels(mvm)}
}

// allowPolicy permits the clients of mesh.allow. A policy with action ALLOW closes the
// ports of the pod for every client that no such policy permits.
func allowPolicy(mvm *v1alpha1.MeshedVirtualMachine) *securityv1.AuthorizationPolicy {
	ap := authorizationPolicy(mvm, mvm.Name, v1alpha1.AuthorizationActionAllow)
	for _, a := range mvm.Spec.Mesh.Allow {
		rule := &securityv1beta1.Rule{From: []*securityv1beta1.Rule_From{{Source: source(mvm, a)}}}
		if len(a.Ports) > 0 {
			rule.To = []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Ports: targetPorts(mvm, a.Ports)}}}
		}
		ap.Spec.Rules = append(ap.Spec.Rules, rule)
	}
	return ap
}

// declaredPolicy builds the policy of an entry of mesh.authorization.
func declaredPolicy(mvm *v1alpha1.MeshedVirtualMachine, a v1alpha1.Authorization) *securityv1.AuthorizationPolicy {
	ap := authorizationPolicy(mvm, partName(mvm, a.Name), a.Action)
	if a.Action == v1alpha1.AuthorizationActionCustom {
		ap.Spec.ActionDetail = &securityv1beta1.AuthorizationPolicy_Provider{
			Provider: &securityv1beta1.AuthorizationPolicy_ExtensionProvider{Name: a.Provider},
		}
	}
	for _, r := range a.Rules {
		rule := r.DeepCopy()
		if a.Action != v1alpha1.AuthorizationActionAllow && meshpolicy.UsesHTTP(rule) {
			limitToHTTP(mvm, rule)
		}
		ap.Spec.Rules = append(ap.Spec.Rules, rule)
	}
	return ap
}

// limitToHTTP adds the HTTP ports of the guest to the operations of a rule that do not
// name ports. Of a rule that does not permit requests, a proxy ignores the attributes of
// HTTP on other ports, so that the rule would match their connections (Istio,
// pkg/config/validation, ValidateAuthorizationPolicy).
func limitToHTTP(mvm *v1alpha1.MeshedVirtualMachine, rule *securityv1beta1.Rule) {
	if len(rule.To) == 0 {
		rule.To = []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{}}}
	}
	for _, to := range rule.To {
		if len(to.GetOperation().GetPorts()) == 0 {
			to.Operation.Ports = httpPorts(mvm)
		}
	}
}

// httpPorts returns the numbers of the guest's HTTP ports.
func httpPorts(mvm *v1alpha1.MeshedVirtualMachine) []string {
	var names []string
	for _, p := range mvm.Spec.Ports {
		if p.IsMeshedHTTP() {
			names = append(names, p.Name)
		}
	}
	return targetPorts(mvm, names)
}

// source identifies clients without the trust domain of the mesh. Istio reads a
// service account without a namespace as one of the policy's namespace (Istio,
// pilot/pkg/security/authz/model, serviceAccountRegex).
func source(mvm *v1alpha1.MeshedVirtualMachine, a v1alpha1.AllowedClient) *securityv1beta1.Source {
	account := a.ServiceAccount
	switch {
	case account == "":
		return &securityv1beta1.Source{Namespaces: []string{a.Namespace}}
	case !strings.Contains(account, "/"):
		account = mvm.Namespace + "/" + account
	}
	return &securityv1beta1.Source{ServiceAccounts: []string{account}}
}

// targetPorts returns the numbers on which the guest listens for the ports with the
// names. The guest's proxy sees these numbers, not those of the Service.
func targetPorts(mvm *v1alpha1.MeshedVirtualMachine, names []string) []string {
	var out []string
	for _, p := range mvm.Spec.Ports {
		number := strconv.Itoa(int(p.TargetPortOrDefault()))
		if slices.Contains(names, p.Name) && !slices.Contains(out, number) {
			out = append(out, number)
		}
	}
	return out
}
