// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// InboundRules specifies how connections to the pod's address are handled.
//
// +kubebuilder:validation:MinProperties=0
type InboundRules struct {
	// mesh are TCP ports whose connections pass through the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	Mesh []int32 `json:"mesh,omitempty"`

	// directTCP are TCP ports whose connections reach the guest directly,
	// bypassing the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	DirectTCP []int32 `json:"directTCP,omitempty"`

	// directUDP are UDP ports of the guest that are open.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	DirectUDP []int32 `json:"directUDP,omitempty"`

	// excludePorts are further ports whose connections reach the guest
	// directly, bypassing the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	ExcludePorts []PortRange `json:"excludePorts,omitempty"`
}

// OutboundRules specifies which TCP connections of the guest bypass the proxy.
// All other connections pass through it.
//
// +kubebuilder:validation:MinProperties=0
type OutboundRules struct {
	// excludePorts are destination ports that bypass the proxy, and UDP ports
	// that unmeshed does not drop.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	ExcludePorts []PortRange `json:"excludePorts,omitempty"`

	// excludeCIDRs are destination networks that bypass the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network in CIDR notation, for example 10.96.0.0/16 or fd00:96::/112"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self) == cidr(self).masked()",message="must not have host bits set: use the network address, for example 10.96.0.0/16 instead of 10.96.0.5/16, or prefix length 32 (IPv6: 128) for a single host"
	ExcludeCIDRs []string `json:"excludeCIDRs,omitempty"`

	// includeCIDRs are the only destination networks that pass through the
	// proxy. Defaults to all networks.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network in CIDR notation, for example 10.96.0.0/16 or fd00:96::/112"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self) == cidr(self).masked()",message="must not have host bits set: use the network address, for example 10.96.0.0/16 instead of 10.96.0.5/16, or prefix length 32 (IPv6: 128) for a single host"
	IncludeCIDRs []string `json:"includeCIDRs,omitempty"`
}
