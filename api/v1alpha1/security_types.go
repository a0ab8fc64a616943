// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import securityv1beta1 "istio.io/api/security/v1beta1"

// AllowedClient allows the clients of a service account or of a namespace to
// connect to ports of the guest. Exactly one of serviceAccount and namespace
// must be set.
//
// +kubebuilder:validation:XValidation:rule="has(self.serviceAccount) != has(self.namespace)",message="an entry of mesh.allow must set exactly one of serviceAccount and namespace: use a separate entry for each"
type AllowedClient struct {
	// serviceAccount is the service account of the clients as NAMESPACE/NAME, or
	// as NAME for a service account in the namespace of the guest. A virtual machine
	// has the service account "default" unless mesh.identity, or a volume of type
	// serviceAccount, names another one.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	ServiceAccount string `json:"serviceAccount,omitempty"`

	// namespace is the namespace of the clients. It allows all service accounts
	// of the namespace.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`

	// ports are names of ports in spec.ports. They must be TCP ports via Mesh
	// whose mutual TLS mode is not Disable. Ports with the same targetPort are
	// allowed together, because the proxy of the guest distinguishes connections
	// by targetPort. Defaults to all ports via Mesh, none of which may then have
	// the mode Disable.
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
	// AuthorizationActionAllow allows matching requests. All requests that no
	// policy with this action allows are denied.
	AuthorizationActionAllow AuthorizationAction = "Allow"
	// AuthorizationActionDeny denies matching requests.
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
// +kubebuilder:validation:XValidation:rule="(self.action == 'Custom') == has(self.provider)",message="provider is required for the action Custom and must not be set for other actions: set provider, or remove it"
type Authorization struct {
	// name identifies the policy. The AuthorizationPolicy is named MVM.NAME, where
	// MVM is the name of the MeshedVirtualMachine.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// action is the action of the policy. Istio evaluates Custom first, then
	// Deny, then Allow. Allow denies all requests to all ports via Mesh that no
	// policy with this action allows.
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
	// Specify ports as the targetPort of a TCP port via Mesh. A service account
	// without a namespace belongs to the namespace of the guest. For the actions
	// Deny, Audit and Custom, the operator adds the HTTP ports of the guest to
	// rules that have HTTP attributes and no ports. On other ports, Istio ignores
	// HTTP attributes, so the rule would match every connection.
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
	return copies(*in)
}
