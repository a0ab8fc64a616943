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
)

// authorizationPolicies builds the AuthorizationPolicies of the guest's pods: one
// with the name of the MeshedVirtualMachine for mesh.allow.
func authorizationPolicies(in Input) ([]Object, error) {
	var out []Object
	if len(in.MVM.Spec.Mesh.Allow) > 0 {
		out = append(out, allowPolicy(in.MVM))
	}
	return out, nil
}

func authorizationPolicy(mvm *v1alpha1.MeshedVirtualMachine, name string) *securityv1.AuthorizationPolicy {
	ap := &securityv1.AuthorizationPolicy{ObjectMeta: meta(mvm, name)}
	ap.SetGroupVersionKind(AuthorizationPolicyKind)
	// Another client must not disable the policy. The operator restores only
	// annotations that it sets.
	ap.Annotations = map[string]string{annotation.IoIstioDryRun.Name: "false"}
	ap.Spec.Selector = guestSelector(mvm)
	return ap
}

// guestSelector selects the pods of the guest in Istio's policies.
func guestSelector(mvm *v1alpha1.MeshedVirtualMachine) *typev1beta1.WorkloadSelector {
	return &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{v1alpha1.LabelMeshedVirtualMachine: mvm.Name}}
}

// allowPolicy permits the clients of mesh.allow. A policy with action ALLOW closes the
// ports of the pod for every client that no such policy permits.
func allowPolicy(mvm *v1alpha1.MeshedVirtualMachine) *securityv1.AuthorizationPolicy {
	ap := authorizationPolicy(mvm, mvm.Name)
	ap.Spec.Action = securityv1beta1.AuthorizationPolicy_ALLOW
	for _, a := range mvm.Spec.Mesh.Allow {
		rule := &securityv1beta1.Rule{From: []*securityv1beta1.Rule_From{{Source: source(mvm, a)}}}
		if len(a.Ports) > 0 {
			rule.To = []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Ports: targetPorts(mvm, a.Ports)}}}
		}
		ap.Spec.Rules = append(ap.Spec.Rules, rule)
	}
	return ap
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
