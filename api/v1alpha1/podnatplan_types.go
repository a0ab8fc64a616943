// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// InboundPlan says what becomes of connections to the pod's address.
//
// +kubebuilder:validation:MinProperties=1
type InboundPlan struct {
	// mesh are TCP ports that go through the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	Mesh []int32 `json:"mesh,omitempty"`

	// directTCP are TCP ports that go to the guest past the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	DirectTCP []int32 `json:"directTCP,omitempty"`

	// directUDP are UDP ports that go to the guest.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=65535
	DirectUDP []int32 `json:"directUDP,omitempty"`

	// excludePorts are further ports that go to the guest past the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	ExcludePorts []PortRange `json:"excludePorts,omitempty"`
}

// OutboundPlan says which of the guest's own TCP connections go past the
// proxy; all others go through it.
//
// +kubebuilder:validation:MinProperties=1
type OutboundPlan struct {
	// excludePorts are destination ports that go past the proxy, and UDP
	// ports that unmeshed does not drop.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	ExcludePorts []PortRange `json:"excludePorts,omitempty"`

	// excludeCIDRs are destination networks that go past the proxy.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network in CIDR notation, for example 10.96.0.0/16 or fd00:96::/112"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self) == cidr(self).masked()",message="has host bits set: write the network's first address, as 10.96.0.0/16 for 10.96.0.5/16, or the length 32 (IPv6: 128) for one host"
	ExcludeCIDRs []string `json:"excludeCIDRs,omitempty"`

	// includeCIDRs are the only destination networks that go through the
	// proxy; all when left out.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="must be a network in CIDR notation, for example 10.96.0.0/16 or fd00:96::/112"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self) == cidr(self).masked()",message="has host bits set: write the network's first address, as 10.96.0.0/16 for 10.96.0.5/16, or the length 32 (IPv6: 128) for one host"
	IncludeCIDRs []string `json:"includeCIDRs,omitempty"`
}
