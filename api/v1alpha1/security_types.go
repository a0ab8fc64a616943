// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import securityv1beta1 "istio.io/api/security/v1beta1"

// AllowedClient permits the clients of a service account or of a namespace to
// connect to ports of the guest. Exactly one of serviceAccount and namespace
// must be set.
//
// +kubebuilder:validation:XValidation:rule="has(self.serviceAccount) != has(self.namespace)",message="an entry of mesh.allow identifies its clients by one field: set either serviceAccount or namespace, and add an entry for the other"
type AllowedClient struct {
	// serviceAccount is the service account of the clients as NAMESPACE/NAME, or
	// as NAME for a service account in the namespace of the guest. KubeVirt runs
	// all virtual machines with the service account "default".
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	ServiceAccount string `json:"serviceAccount,omitempty"`

	// namespace is the namespace of the clients. It permits all service accounts
	// of the namespace.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`

	// ports are names of ports in spec.ports. They must be TCP ports via Mesh.
	// Ports with the same targetPort are permitted together, because the proxy
	// of the guest distinguishes connections by targetPort. Defaults to all
	// ports via Mesh.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Ports []string `json:"ports,omitempty"`
}

// AuthorizationAction is the action of an AuthorizationPolicy.
//
// +kubebuilder:validation:Enum=Allow;Deny;Audit;Custom
type AuthorizationAction string

const (
	// AuthorizationActionAllow permits matching requests. All requests that no
	// policy with this action permits are refused.
	AuthorizationActionAllow AuthorizationAction = "Allow"
	// AuthorizationActionDeny refuses matching requests.
	AuthorizationActionDeny AuthorizationAction = "Deny"
	// AuthorizationActionAudit logs matching requests. It requires a plugin of
	// the proxy.
	AuthorizationActionAudit AuthorizationAction = "Audit"
	// AuthorizationActionCustom lets an external authorizer decide about
	// matching requests.
	AuthorizationActionCustom AuthorizationAction = "Custom"
)

// Authorization is an Istio AuthorizationPolicy for the guest.
//
// +kubebuilder:validation:XValidation:rule="(self.action == 'Custom') == has(self.provider)",message="provider names the external authorizer of action Custom: set it exactly if action is Custom"
type Authorization struct {
	// name identifies the policy. The AuthorizationPolicy has the name of the
	// MeshedVirtualMachine, a dot and this name.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// action is the action of the policy. Istio evaluates Custom first, then
	// Deny, then Allow. Allow refuses all requests to all ports via Mesh that no
	// policy with this action permits.
	//
	// +required
	Action AuthorizationAction `json:"action,omitempty"`

	// provider is the name of an external authorizer in extensionProviders of
	// Istio's mesh configuration. It is required for the action Custom.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Provider string `json:"provider,omitempty"`

	// rules are Istio's rules, with at most 32 entries. The policy matches a
	// request if one of its rules does, and the rule {} matches every request.
	// Ports are numbers of the guest, that is, targetPort of a TCP port via Mesh.
	// A service account without a namespace belongs to the namespace of the
	// guest. For the actions Deny, Audit and Custom, the operator limits rules
	// with attributes of HTTP and without ports to the HTTP ports, because Istio
	// would apply them to every connection to other ports.
	//
	// +required
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Rules AuthorizationRules `json:"rules,omitempty"`
}

// AuthorizationRules are rules of an Istio AuthorizationPolicy.
//
// +kubebuilder:object:generate=false
type AuthorizationRules []*securityv1beta1.Rule

// DeepCopyInto copies the rules. controller-gen cannot copy a list of pointers to
// messages.
func (in *AuthorizationRules) DeepCopyInto(out *AuthorizationRules) { *out = in.DeepCopy() }

// DeepCopy returns a copy of the rules.
func (in *AuthorizationRules) DeepCopy() AuthorizationRules {
	if *in == nil {
		return nil
	}
	out := make(AuthorizationRules, len(*in))
	for i, r := range *in {
		out[i] = r.DeepCopy()
	}
	return out
}
